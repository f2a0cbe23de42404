// SPDX-License-Identifier: Apache-2.0

// Command bkp-strategy-nearest is package nearest as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins/serve"
	"github.com/bkp-tool/bkp/plugins/strategies/nearest"
)

func main() { serve.Strategy(nearest.New()) }
