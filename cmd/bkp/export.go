// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// exportTo reads --export: the absolute path of a directory that is there, beside the data directory.
func exportTo(c *command.Call, args control.PlaceArgs) (string, error) {
	if !c.Given("export") {
		return "", nil
	}
	for _, flag := range []string{"exclude", "erasure", "coordinator", "dry-run", "explain", "rebalance", "frontier",
		"plan", "plan-out", "plot", "record", "objective", "blend", "deadline"} {
		if c.Given(flag) {
			return "", line.UsageError("--export and --%s: all that the one node of --only is to keep goes to the disk",
				flag)
		}
	}
	if len(args.Only) != 1 {
		return "", core.WithHint(line.UsageError("--export: a disk is for one node"),
			"say for which: --only NODE; bkp peers lists them")
	}
	dir, err := filepath.Abs(c.String("export"))
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", line.UsageError("--export: %w", err)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", line.UsageError("--export %s: it is no directory", dir)
	}
	data, err := filepath.EvalSymlinks(string(c.Dir))
	if err == nil && (dir == data || strings.HasPrefix(dir, data+string(filepath.Separator))) {
		return "", core.WithHint(line.UsageError("--export %s: it is in the data directory", dir),
			"name the folder that the disk is mounted at")
	}
	return dir, nil
}
