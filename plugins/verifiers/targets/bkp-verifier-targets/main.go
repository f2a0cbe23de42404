// SPDX-License-Identifier: Apache-2.0

// Command bkp-verifier-targets is package targets as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins"
	"github.com/bkp-tool/bkp/plugins/verifiers/targets"
)

func main() { plugins.ServeVerifier(targets.New()) }
