// SPDX-License-Identifier: Apache-2.0

// Command bkp-strategy-zone-spread is package zonespread as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins/serve"
	zonespread "github.com/bkp-tool/bkp/plugins/strategies/zone-spread"
)

func main() { serve.Strategy(zonespread.New()) }
