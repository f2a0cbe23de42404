// SPDX-License-Identifier: Apache-2.0

// Command bkp-strategy-reliable is package reliable as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins/serve"
	"github.com/bkp-tool/bkp/plugins/strategies/reliable"
)

func main() { serve.Strategy(reliable.New()) }
