// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/license"
)

const (
	licenseLife = 7 * 24 * time.Hour
	// windowLife is how long the licence of a window holds, and with it a task whose ref has not come yet: longer than
	// any backup takes.
	windowLife = 90 * 24 * time.Hour
	// defaultRetain is how long targets are asked to keep a version.
	defaultRetain = 5 * 365 * 24 * time.Hour
	// answerPatience is with a target that judges a segment.
	answerPatience = 60 * time.Second
	// withdrawPatience is how long answers that are on their way are waited for, before what they agree to is released.
	withdrawPatience = 2 * time.Second
	// offersOpen is how many answers may be outstanding: each question holds a segment's whole run list.
	offersOpen = 16
)

// retain is how long targets are to keep it.
func (p *placement) retain() time.Duration {
	if p.Args.Retain > 0 {
		return time.Duration(p.Args.Retain) * time.Second
	}
	return defaultRetain
}

// license signs who may keep a segment, and enters that in the ledger.
func (p *placement) license(s *Segment) error {
	now, life := time.Now(), licenseLife
	if p.window {
		life = windowLife
	}
	signer := p.owner.Signer()
	l := core.License{
		V: 1, Task: p.Task, Segment: s.Number, TaskSource: core.TaskSource{Owner: signer.ID(), Node: p.Node},
		Targets: s.Targets, Op: "store", Root: chunk.LicenseRoot(s.Message.Files, s.Message.Reused),
		NotBefore: now.Unix(), Expires: now.Add(life).Unix(), RetainUntil: now.Add(p.retain()).Unix(),
		Key: signer.Public(),
	}
	l.MaxBytes, l.MaxRuns = s.Bounds()
	if _, err := rand.Read(l.ID[:]); err != nil {
		return fmt.Errorf("draw licence id: %w", err)
	}
	envelope, err := license.Sign(l, signer)
	if err != nil {
		return fmt.Errorf("sign licence: %w", err)
	}
	s.Licenses = append(s.Licenses, l.ID)
	s.Message.License = envelope
	return p.Ledger.AppendLicense(envelope)
}

// offer sends the segments to their targets, a few at a time, and waits until all agreed; the first refusal ends it.
func (p *placement) offer(ctx context.Context) error {
	if err := p.Ledger.Sync(); err != nil {
		return fmt.Errorf("enter licences in the ledger: %w", err)
	}
	deadline := time.NewTimer(answerPatience)
	defer deadline.Stop()
	for {
		p.take()
		missing, refused := p.Standing.Missing()
		for s := p.Standing; refused == nil && s.Offered < len(s.Segments) && missing < offersOpen; {
			p.offerOne(s.Segments[s.Offered])
			s.Offered++
			missing, refused = s.Missing()
		}
		if refused != nil {
			return p.refused(refused)
		}
		if missing == 0 {
			return nil
		}
		p.tell(Status{Phase: "license",
			Text: fmt.Sprintf("segment %d of %d", p.Standing.Offered, len(p.Standing.Segments))})
		select {
		case <-p.inbox.news:
			deadline.Reset(answerPatience)
		case <-deadline.C:
			return core.WithHint(core.Fail(core.CodeRedundant, "%d answers to segments are missing after %s", missing,
				answerPatience), "bkp peers shows who is slow or gone")
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.Life.Done():
			return context.Cause(p.Life)
		}
	}
}

// offerOne sends a segment to its targets.
func (p *placement) offerOne(s *Segment) {
	for _, target := range p.Peers.Send(s.Targets, s.Message) {
		s.Answers[target] = Answer{Code: core.ReasonStopped, Reason: "it is not connected"}
	}
}

func (p *placement) refused(r *Refusal) error {
	err := core.Fail(r.Code.ExitCode(), "peer %s (%s) refused segment %d: %s", r.Target.Short(),
		p.Survey.Address(r.Target), r.Segment, r.Reason)
	return core.WithHint(err, "nothing was stored; bkp place --dry-run shows what the plan needs of that peer")
}

// withdraw releases what targets agreed to before another refused, or before the placement was stopped.
func (p *placement) withdraw(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*withdrawPatience)
	defer cancel()
	until := time.Now().Add(withdrawPatience)
	for missing := 1; missing > 0 && time.Now().Before(until) && p.pause(ctx, 20*time.Millisecond); {
		p.take()
		missing, _ = p.Standing.Missing()
	}
	p.release(ctx, "withdraw", p.Standing.Bound())
}
