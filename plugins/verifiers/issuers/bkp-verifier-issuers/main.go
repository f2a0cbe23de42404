// SPDX-License-Identifier: Apache-2.0

// Command bkp-verifier-issuers is package issuers as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins/serve"
	"github.com/bkp-tool/bkp/plugins/verifiers/issuers"
)

func main() { serve.Verifier(issuers.New()) }
