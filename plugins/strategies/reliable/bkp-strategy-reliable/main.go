// SPDX-License-Identifier: Apache-2.0

// Command bkp-strategy-reliable is package reliable as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins"
	"github.com/bkp-tool/bkp/plugins/strategies/reliable"
)

func main() { plugins.ServeStrategy(reliable.New()) }
