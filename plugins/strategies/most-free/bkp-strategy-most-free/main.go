// SPDX-License-Identifier: Apache-2.0

// Command bkp-strategy-most-free is package mostfree as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins/serve"
	mostfree "github.com/bkp-tool/bkp/plugins/strategies/most-free"
)

func main() { serve.Strategy(mostfree.New()) }
