// SPDX-License-Identifier: Apache-2.0

package key

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/bkp-tool/bkp/core"
)

// ReleaseType is the payload type of a release.
const ReleaseType = "application/vnd.bkp.release.v1+json"

// Release gives up what targets hold for one task.
type Release struct {
	V          int         `json:"v"` // 1
	Owner      core.ID     `json:"owner"`
	Task       core.TaskID `json:"task"`
	Alias      string      `json:"alias"`
	Version    int         `json:"version"`
	Time       int64       `json:"time"` // when it was signed, Unix seconds
	Key        []byte      `json:"key"`  // the signer's public key
	Delegation []byte      `json:"delegation,omitempty"`
	Location   []byte      `json:"location,omitempty"` // by a delegate to keep: who keeps it instead
}

// SignRelease signs r as its owner, filling V, Owner and Key.
func (o *Owner) SignRelease(r Release) ([]byte, error) {
	if err := o.signs(); err != nil {
		return nil, err
	}
	r.Owner = o.ID()
	return o.signer.SignRelease(r)
}

// SignRelease signs r as the owner that it names, or as a delegate whose delegation it carries. It fills V and Key.
func (s *Signer) SignRelease(r Release) ([]byte, error) {
	r.V, r.Key = 1, s.Public()
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("sign release of %s.%d: %w", r.Alias, r.Version, err)
	}
	payload, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("sign release of %s.%d: %w", r.Alias, r.Version, err)
	}
	return s.Envelope(ReleaseType, payload)
}

// OpenRelease returns a release that its owner or a delegate with the right to release really signed, and in time:
// a delegation must have stood at the release's own Time. Who acts on it now asks Allowed too.
func OpenRelease(envelope []byte) (Release, error) {
	var r Release
	_, err := OpenEnvelope(envelope, ReleaseType, func(payload []byte) ([]byte, error) {
		err := json.Unmarshal(payload, &r, strict)
		return r.Key, err
	})
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return Release{}, fmt.Errorf("release: %w", err)
	}
	return r, nil
}

// Kept is the delegation to keep and the location by which a coordinator signed r; is is false where it is signed by
// the owner, or with the right to release.
func (r Release) Kept() (d Delegation, l Location, is bool) {
	if len(r.Location) == 0 {
		return d, l, false
	}
	d, errD := OpenDelegation(r.Delegation)
	l, errL := OpenLocation(r.Location)
	return d, l, errD == nil && errL == nil
}

// by returns nil where the signer may release at a moment.
func (r Release) by(at int64) error {
	if len(r.Location) == 0 {
		return acting(r.Owner, r.Key, r.Delegation, RightRelease, at)
	}
	d, err := OpenDelegation(r.Delegation)
	if err == nil {
		err = d.Keeps(IDOf(r.Key), r.Alias, r.Version, time.Unix(at, 0))
	}
	if err != nil {
		return err
	}
	l, err := OpenLocation(r.Location)
	switch {
	case err != nil:
		return err
	case d.Owner != r.Owner || l.Owner != r.Owner || l.Alias != r.Alias || l.Version != r.Version || l.Term != d.Term ||
		l.Node != d.Node || l.Task != r.Task:
		return fmt.Errorf("its location is of %s.%d, task %s, term %d of %s", l.Alias, l.Version, l.Task, l.Term, l.Node)
	}
	return nil
}

// Allowed returns nil where the signer may still release at now: a delegate could have signed with an older date.
func (r Release) Allowed(now time.Time) error {
	return r.by(now.Unix())
}

func (r Release) check() error {
	switch {
	case r.V != 1:
		return fmt.Errorf("version %d is not known here", r.V)
	case r.Task.IsZero():
		return fmt.Errorf("task is missing")
	case r.Version < 1:
		return fmt.Errorf("version of the name is %d, want 1 or more", r.Version)
	case r.Time <= 0 || r.Time > lastSecond:
		return fmt.Errorf("time %d is not a date", r.Time)
	}
	if err := checkAlias(r.Alias); err != nil {
		return err
	}
	return r.by(r.Time)
}
