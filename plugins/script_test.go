// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins"
	"github.com/bkp-tool/bkp/plugins/contract"
	"github.com/bkp-tool/bkp/plugins/plugintest"
)

// language is one of which plugins are folders.
type language struct {
	name, main, ending string
	raises             string // what stands in place of "free = batch" where it prints and raises
	order              string // the setting of its engine that says where the order is
}

var languages = []language{
	{"python", "__main__", ".py", "print('hello'); raise ValueError('no beans'); free = batch", "file"},
	{"ruby", "main", ".rb", "puts 'hello'; raise ArgumentError, 'no beans'; free = batch", "folder"},
}

// inEach runs a test for each language.
func inEach(t *testing.T, test func(*testing.T, language)) {
	t.Parallel()
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			test(t, l)
		})
	}
}

// packed is a host of a plugin in a language: the example with which an author begins, and the kit.
func packed(t *testing.T, l language, n plugins.Name, edit func(string) string) *plugins.Host {
	t.Helper()
	folder := filepath.Join(t.TempDir(), n.File())
	if err := os.CopyFS(folder, os.DirFS(l.name)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../cmd/bkp/scaffold/template/" + l.name + "/" + l.main + "." + string(n.Kind) + l.ending + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(edit(strings.ReplaceAll(string(text), "NAME", n.Name)))
	if err := os.WriteFile(filepath.Join(folder, l.main+l.ending), text, 0o600); err != nil {
		t.Fatal(err)
	}
	program, err := plugins.Pack(folder)
	if err != nil && strings.Contains(err.Error(), "there is no "+l.name) {
		t.Skip(err, "; ", core.HintOf(err))
	}
	if err != nil {
		t.Fatal(err)
	}
	again, err := plugins.Pack(folder)
	if err != nil || string(again) != string(program) {
		t.Errorf("packed twice, the program is not the same (%v)", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, n.File()), program, 0o700); err != nil {
		t.Fatal(err)
	}
	return &plugins.Host{Path: []string{dir}}
}

func asItIs(text string) string { return text }

func TestScriptStrategy(t *testing.T) { inEach(t, scriptStrategy) }

func scriptStrategy(t *testing.T, l language) {
	n := plugins.Name{Kind: plugins.KindStrategy, Name: "mine"}
	h := packed(t, l, n, asItIs).With(n, plugins.Config{"least": int64(5)})
	s, err := h.Strategy(t.Context(), "mine")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	batch := plugintest.Batch(1, 3)
	batch.Nodes.Free[0], batch.Nodes.Free[1] = 4, 5
	scores, err := s.Score(t.Context(), batch)
	if err != nil || scores.Allow[0] || !scores.Allow[1] || scores.TargetWeight[1] != 5 {
		t.Errorf("%+v, %v", scores, err)
	}
	plugintest.Strategy(t, s)
}

func TestScriptVerifier(t *testing.T) { inEach(t, scriptVerifier) }

func scriptVerifier(t *testing.T, l language) {
	n := plugins.Name{Kind: plugins.KindVerifier, Name: "mine"}
	v, err := packed(t, l, n, asItIs).Verifier(t.Context(), "mine")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	large := plugintest.Request(plugintest.Owner, nil)
	large.AddedBytes = 1 << 50
	plugintest.Verifier(t, v, plugintest.Case{Name: "large", Request: large, Code: "large"},
		plugintest.Case{Name: "small", Request: plugintest.Request(plugintest.Owner, nil), OK: true})
}

func TestScriptNotifier(t *testing.T) { inEach(t, scriptNotifier) }

func scriptNotifier(t *testing.T, l language) {
	n := plugins.Name{Kind: plugins.KindNotifier, Name: "mine"}
	file := filepath.Join(t.TempDir(), "told")
	told, err := packed(t, l, n, asItIs).With(n, plugins.Config{"file": file}).Notifier(t.Context(), "mine")
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	if err := told.Notify(t.Context(), plugintest.Event(core.EventPlaced)); err != nil {
		t.Error(err)
	}
	said, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(said), "placed big.iso@2 what happened, in a sentence") {
		t.Errorf("%v: %s", err, said)
	}
	plugintest.Notifier(t, told)
}

// What a plugin raises and prints is told, and does not end it.
func TestScriptStrategyThatRaises(t *testing.T) { inEach(t, scriptRaises) }

func scriptRaises(t *testing.T, l language) {
	n := plugins.Name{Kind: plugins.KindStrategy, Name: "mine"}
	s, err := packed(t, l, n, func(text string) string {
		return strings.Replace(text, "free = batch", l.raises, 1)
	}).Strategy(t.Context(), "mine")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 2 {
		_, err = s.Score(t.Context(), contract.Needed(plugintest.Batch(1, 3), nil))
		says(t, err, "Error: no beans")
	}
}

func TestScriptEngine(t *testing.T) { inEach(t, scriptEngine) }

func scriptEngine(t *testing.T, l language) {
	n := plugins.Name{Kind: plugins.KindEngine, Name: "mine"}
	where := plugins.Config{l.order: filepath.Join(t.TempDir(), "order")}
	e, err := packed(t, l, n, asItIs).With(n, where).Engine(t.Context(), "mine")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	plugintest.Engine(t, e)
}
