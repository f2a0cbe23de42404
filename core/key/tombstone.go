// SPDX-License-Identifier: Apache-2.0

package key

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/bkp-tool/bkp/core"
)

// TombstoneType is the payload type of a tombstone.
const TombstoneType = "application/vnd.bkp.tombstone.v1+json"

// Tombstone says that a version is removed: no ref of it that turns up somewhere brings it back.
type Tombstone struct {
	V          int       `json:"v"` // 1
	Owner      core.ID   `json:"owner"`
	Alias      string    `json:"alias"`
	Version    int       `json:"version"`
	Content    core.Hash `json:"content"` // the stored hash of the version's root; no other content has died
	Time       int64     `json:"time"`    // when it was removed, Unix seconds
	Until      int64     `json:"until"`   // when the last holder may have forgotten the version by itself
	Key        []byte    `json:"key"`     // the signer's public key
	Delegation []byte    `json:"delegation,omitempty"`
}

// SignTombstone signs t as its owner, filling V, Owner and Key.
func (o *Owner) SignTombstone(t Tombstone) ([]byte, error) {
	if err := o.signs(); err != nil {
		return nil, err
	}
	t.V, t.Owner, t.Key = 1, o.ID(), o.signer.Public()
	err := t.check()
	var payload []byte
	if err == nil {
		payload, err = json.Marshal(t)
	}
	if err != nil {
		return nil, fmt.Errorf("sign tombstone of %s.%d: %w", t.Alias, t.Version, err)
	}
	return o.signer.Envelope(TombstoneType, payload)
}

// OpenTombstone returns a tombstone that its owner or a delegate with the right to release really signed, and in time.
func OpenTombstone(envelope []byte) (Tombstone, error) {
	var t Tombstone
	_, err := OpenEnvelope(envelope, TombstoneType, func(payload []byte) ([]byte, error) {
		err := json.Unmarshal(payload, &t, strict)
		return t.Key, err
	})
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return Tombstone{}, fmt.Errorf("tombstone: %w", err)
	}
	return t, nil
}

// Allowed returns nil where the signer may still release at now: a delegate could have signed with an older date.
func (t Tombstone) Allowed(now time.Time) error {
	return acting(t.Owner, t.Key, t.Delegation, RightRelease, now.Unix())
}

// Buries reports whether a ref is of the version that is removed.
func (t Tombstone) Buries(alias string, version int, content core.Hash) bool {
	return t.Alias == alias && t.Version == version && t.Content == content
}

func (t Tombstone) check() error {
	switch {
	case t.V != 1:
		return fmt.Errorf("version %d is not known here", t.V)
	case t.Version < 1:
		return fmt.Errorf("version of the name is %d, want 1 or more", t.Version)
	case t.Content.IsZero():
		return fmt.Errorf("content is missing")
	case t.Time <= 0 || t.Time > lastSecond || t.Until < t.Time || t.Until > lastSecond:
		return fmt.Errorf("times %d and %d are no dates in this order", t.Time, t.Until)
	}
	if err := checkAlias(t.Alias); err != nil {
		return err
	}
	return acting(t.Owner, t.Key, t.Delegation, RightRelease, t.Time)
}
