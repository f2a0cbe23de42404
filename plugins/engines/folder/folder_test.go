// SPDX-License-Identifier: Apache-2.0

package folder_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/engines/folder"
	"github.com/bkp-tool/bkp/plugins/plugintest"
)

func in(t *testing.T, dir string) core.Engine {
	t.Helper()
	config, err := json.Marshal(map[string]string{"folder": dir})
	if err != nil {
		t.Fatal(err)
	}
	e := folder.New()
	if err := e.(core.Configurer).Configure(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	return e
}

// twice is one order by two engines, as two nodes have it.
type twice struct {
	core.Engine
	other core.Engine
}

func (e twice) Describe(ctx context.Context) (core.EngineInfo, error) {
	info, err := e.Engine.Describe(ctx)
	info.Settings = nil // its defaults would take the folder away
	return info, err
}

func (e twice) Read(ctx context.Context, scope string, after int64, limit int) ([][]byte, error) {
	return e.other.Read(ctx, scope, after, limit)
}

func TestConformance(t *testing.T) {
	dir := t.TempDir()
	plugintest.Engine(t, twice{Engine: in(t, dir), other: in(t, dir)})
}

// A folder that is away is an error, and no empty order.
func TestFolderThatIsAway(t *testing.T) {
	e := in(t, filepath.Join(t.TempDir(), "away"))
	if _, err := e.Read(t.Context(), "a", 0, 1); err == nil {
		t.Error("read")
	}
	if a, err := e.Append(t.Context(), "a", 0, []byte("x")); err == nil {
		t.Errorf("appended: %+v", a)
	}
}

// What was left of an entry that was being written when its process was killed is in nobody's way.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	if a, err := in(t, dir).Append(t.Context(), "a", 0, []byte("x")); err != nil || !a.OK {
		t.Fatal(a, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "new.123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := in(t, dir)
	if a, err := e.Append(t.Context(), "a", 1, []byte("y")); err != nil || !a.OK {
		t.Error(a, err)
	}
	if got, err := e.Read(t.Context(), "a", 0, 10); err != nil || len(got) != 2 {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	if err := folder.New().(core.Configurer).Configure(t.Context(), []byte(`{"folder":"order"}`)); err == nil {
		t.Error("a part of a path is taken")
	}
}
