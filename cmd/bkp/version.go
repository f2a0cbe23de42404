// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/wire"
	"github.com/urfave/cli/v2"
)

// version is set by the linker: -X main.version=v0.1.0.
var version = "devel"

func versionCommand() *cli.Command {
	return command.New(command.Spec{
		Name:     "version",
		Usage:    "print the version",
		Examples: "bkp version\nbkp version --json",
		Do: func(_ context.Context, c *command.Call) error {
			v := versionInfo{Version: version, Protocol: wire.Version, Go: runtime.Version(),
				System: runtime.GOOS + "/" + runtime.GOARCH, Compressor: chunk.Compressor}
			if info, ok := debug.ReadBuildInfo(); ok && version == "devel" && info.Main.Version != "" {
				v.Version = info.Main.Version
			}
			return c.Result(v, func(t *render.Table) {
				t.Line("bkp %s (protocol %d, %s, %s, %s)", v.Version, v.Protocol, v.Go, v.System, v.Compressor)
			})
		},
	})
}

type versionInfo struct {
	Version    string `json:"version"`
	Protocol   int    `json:"protocol"`
	Go         string `json:"go"`
	System     string `json:"system"`
	Compressor string `json:"compressor"` // slower in Go, where the build found no C compiler
}
