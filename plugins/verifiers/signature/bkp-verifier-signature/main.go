// SPDX-License-Identifier: Apache-2.0

// Command bkp-verifier-signature is package signature as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins/serve"
	"github.com/bkp-tool/bkp/plugins/verifiers/signature"
)

func main() { serve.Verifier(signature.New()) }
