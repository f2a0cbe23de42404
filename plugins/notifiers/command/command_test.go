// SPDX-License-Identifier: Apache-2.0

//go:build unix

package command_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/notifiers/command"
	"github.com/bkp-tool/bkp/plugins/plugintest"
)

func TestConformance(t *testing.T) { plugintest.Notifier(t, command.New()) }

func configured(t *testing.T, line string) core.Notifier {
	t.Helper()
	n := command.New()
	err := n.(core.Configurer).Configure(t.Context(), []byte(`{"command":"`+line+`","events":["repaired"]}`))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The command has the event in its environment and as its input; it runs for what is wanted only.
func TestRuns(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "said")
	n := configured(t, `{ echo $BKP_EVENT $BKP_SUBJECT $BKP_TEXT; cat; } >> `+file)
	for _, what := range core.Events {
		if err := n.Notify(t.Context(), plugintest.Event(what)); err != nil {
			t.Error(err)
		}
	}
	said, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(said), "repaired big.iso@2 what happened, in a sentence\n{") ||
		strings.Count(string(said), `"what":"`) != 1 {
		t.Errorf("%v: %s", err, said)
	}
}

func TestCommandThatFails(t *testing.T) {
	t.Parallel()
	err := configured(t, "echo no mail >&2; exit 3").Notify(t.Context(), plugintest.Event(core.EventRepaired))
	if err == nil || !strings.Contains(err.Error(), "no mail") || !strings.Contains(err.Error(), "3") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	err = configured(t, "sleep 60").Notify(ctx, plugintest.Event(core.EventRepaired))
	if err == nil || time.Since(began) > 20*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}
