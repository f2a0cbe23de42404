// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/license"
)

// Permits are those in permits/ under which something may still be stored.
func (d Dir) Permits() (envelopes [][]byte) {
	entries, err := os.ReadDir(d.Path("permits"))
	for _, e := range entries {
		if err != nil || len(envelopes) == license.MaxPermits || !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		envelope, err := os.ReadFile(d.Path("permits", e.Name()))
		if err != nil {
			continue
		}
		if p, err := license.OpenPermit(envelope); err == nil && time.Now().Unix() < p.Expires {
			envelopes = append(envelopes, envelope)
		}
	}
	return envelopes
}

// KeepPermit keeps a permit, and forgets those that have run out.
func (d Dir) KeepPermit(p core.Permit, envelope []byte) error {
	if err := durable.MkdirAll(d.Path("permits")); err != nil {
		return fmt.Errorf("keep permit %s: %w", p.ID, err)
	}
	entries, err := os.ReadDir(d.Path("permits"))
	for _, e := range entries {
		old, readErr := os.ReadFile(d.Path("permits", e.Name()))
		if before, openErr := license.OpenPermit(old); readErr == nil && openErr == nil && time.Now().Unix() > before.Expires {
			err = durable.Remove(d.Path("permits", e.Name()))
		}
	}
	if err == nil && len(d.Permits()) == license.MaxPermits {
		err = core.Fail(core.CodeUsage, "%d are kept already, and no more are shown to nodes", license.MaxPermits)
	}
	if err == nil {
		err = durable.Replace(d.Path("permits", p.ID.String()+".json"), envelope, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep permit %s: %w", p.ID, err)
	}
	return nil
}
