// SPDX-License-Identifier: Apache-2.0

// Package plugintest tells authors whether their strategy, verifier, notifier or engine behaves as bkp wants.
//
// A plugin's test is a line:
//
//	func TestConformance(t *testing.T) { plugintest.Strategy(t, mine.New()) }
//
// bkp plugin test asks a built plugin the same, whatever language it is written in.
package plugintest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
)

// Rule is one thing that bkp wants of a plugin, and what is wrong with it; nil where nothing is.
type Rule struct {
	Name string
	Err  error
}

func (r Rule) test(t *testing.T) {
	t.Helper()
	t.Run(r.Name, func(t *testing.T) {
		t.Helper()
		if r.Err != nil {
			t.Error(r.Err)
		}
	})
}

// describes checks what a plugin says of itself.
func describes(name, version, summary string, settings []core.Setting) (err error) {
	if !contract.ValidName(name) {
		err = fmt.Errorf("name %q: want lower-case letters, digits and dashes", name)
	}
	if version == "" {
		err = errors.Join(err, errors.New("no version"))
	}
	if summary == "" || strings.ContainsAny(summary, "\n\t\x1b") {
		err = errors.Join(err, fmt.Errorf("summary %q: want one line", summary))
	}
	return errors.Join(err, contract.CheckSettings(settings))
}

// configures gives a plugin the defaults of its settings, which it must take.
func configures(ctx context.Context, plugin any, settings []core.Setting) error {
	if len(settings) == 0 {
		return nil
	}
	config := contract.Config{}
	for _, s := range settings {
		if s.Default != "" {
			config[s.Key] = json.RawMessage(s.Default)
		}
	}
	words, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("defaults: %w", err)
	}
	c, ok := plugin.(core.Configurer)
	if !ok {
		return errors.New("lists settings and takes none: it has no Configure")
	}
	if err := c.Configure(ctx, words); err != nil {
		return fmt.Errorf("refuses the defaults that it lists, %s: %w", words, err)
	}
	return nil
}

// atOnce does something eight times at once.
func atOnce(do func(int) error) error {
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() { errs[i] = do(i) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err // one says what all would
		}
	}
	return nil
}
