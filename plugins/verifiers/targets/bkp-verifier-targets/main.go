// SPDX-License-Identifier: Apache-2.0

// Command bkp-verifier-targets is package targets as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins/serve"
	"github.com/bkp-tool/bkp/plugins/verifiers/targets"
)

func main() { serve.Verifier(targets.New()) }
