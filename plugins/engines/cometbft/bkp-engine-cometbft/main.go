// SPDX-License-Identifier: Apache-2.0

// Command bkp-engine-cometbft is package cometbft as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins/engines/cometbft"
	"github.com/bkp-tool/bkp/plugins/serve"
)

func main() { serve.Engine(cometbft.New()) }
