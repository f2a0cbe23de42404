// SPDX-License-Identifier: Apache-2.0

// Command bkp-strategy-cheapest is package cheapest as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins/serve"
	"github.com/bkp-tool/bkp/plugins/strategies/cheapest"
)

func main() { serve.Strategy(cheapest.New()) }
