// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/urfave/cli/v2"
)

func plotFlag() cli.Flag {
	return line.Text("plot", "", "draw nodes, links, flows and finish times to `FILE.svg`")
}

// plot writes a picture where --plot asks for one.
func plot(c *command.Call, p render.Picture) error {
	path := c.String("plot")
	if path == "" {
		return nil
	}
	if err := c.WriteOutput(path, p.SVG()); err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	return nil
}
