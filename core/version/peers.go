// SPDX-License-Identifier: Apache-2.0

package version

import (
	"cmp"
	"context"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
)

// At asks a peer for the ref of an alias, of the newest version where number is 0, or for all refs of the owner where
// alias is empty, and for what it knows to be removed. Each is verified. Those that are sealed to others than this identity
// are left out, and an error of core.CodeRefused says so beside the rest.
func At(ctx context.Context, peers wire.Asker, peer core.ID, owner *key.Owner, alias string,
	number int) (found []Found, gone []Gone, err error) {
	closed, why := 0, error(nil)
	for after, more := 0, true; more; {
		report, err := wire.Ask[wire.RefReport](ctx, peers, peer, func(id uint64) wire.Message {
			if alias != "" {
				return wire.RefGet{Query: id, Owner: owner.ID(), Alias: alias, Version: number}
			}
			return wire.RefList{Query: id, Owner: owner.ID(), After: after, Limit: wire.RefsPerReport}
		})
		if err != nil {
			return found, gone, err
		}
		if report.Code == core.ReasonUnknown {
			return found, gone, nil
		}
		if report.Code != core.ReasonNone {
			return found, gone, core.Fail(report.Code.ExitCode(), "%s", report.Reason)
		}
		for _, envelope := range report.Refs {
			f, err := Open(owner, envelope)
			if core.CodeOf(err) == core.CodeRefused {
				closed, why = closed+1, cmp.Or(why, err)
				continue
			}
			if err != nil {
				return found, gone, err
			}
			f.At, f.Location = peer, report.Location
			found = append(found, f)
		}
		for _, envelope := range report.Tombstones {
			g, err := OpenGone(owner, envelope)
			if err != nil {
				return found, gone, err
			}
			gone = append(gone, g)
		}
		heard := len(report.Refs) + len(report.Tombstones)
		after += heard
		more = alias == "" && report.More && heard > 0
	}
	if closed > 1 {
		why = fmt.Errorf("%w, and %d more", why, closed-1)
	}
	return found, gone, why
}

// LocationAt brings a coordinator's location from a peer that has it beside a ref. It is verified.
func LocationAt(ctx context.Context, peers wire.Asker, f Found) (l key.Location, err error) {
	envelope, err := RecordAt(ctx, peers, f.At, f.Ref, core.Sealed{Hash: f.Location.Hash, Size: f.Location.Size})
	if err == nil {
		l, err = key.OpenLocation(envelope)
	}
	if err == nil && (l.Owner != f.Ref.Owner || l.Alias != f.Ref.Alias || l.Version != f.Ref.Version) {
		err = core.Fail(core.CodeWrong, "location from peer %s: it is of another version", f.At.Short())
	}
	return l, err
}

// RecordAt brings the stored bytes of a segment record that a ref names from a peer, held against their hash.
func RecordAt(ctx context.Context, peers wire.Asker, peer core.ID, ref key.Ref, record core.Sealed) ([]byte, error) {
	var whole []byte
	for core.Size(len(whole)) < record.Size {
		report, err := wire.Ask[wire.RefReport](ctx, peers, peer, func(id uint64) wire.Message {
			return wire.RefGet{Query: id, Owner: ref.Owner, Alias: ref.Alias, Version: ref.Version, Record: record.Hash,
				Offset: core.Size(len(whole))}
		})
		switch {
		case err != nil:
			return nil, err
		case report.Code != core.ReasonNone:
			return nil, core.Fail(report.Code.ExitCode(), "peer %s: %s", peer.Short(), report.Reason)
		case len(report.Data) == 0:
			return nil, fmt.Errorf("peer %s sent an empty piece", peer.Short())
		}
		whole = append(whole, report.Data...)
	}
	if chunk.Hash(whole) != record.Hash {
		return nil, core.Fail(core.CodeWrong, "record %s from peer %s does not match its hash", record.Hash,
			peer.Short())
	}
	return whole, nil
}
