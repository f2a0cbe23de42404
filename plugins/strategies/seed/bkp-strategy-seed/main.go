// SPDX-License-Identifier: Apache-2.0

// Command bkp-strategy-seed is package seed as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins/serve"
	"github.com/bkp-tool/bkp/plugins/strategies/seed"
)

func main() { serve.Strategy(seed.New()) }
