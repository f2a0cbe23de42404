// SPDX-License-Identifier: Apache-2.0

// Command bkp-verifier-office-hours is package officehours as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins/serve"
	officehours "github.com/bkp-tool/bkp/plugins/verifiers/office-hours"
)

func main() { serve.Verifier(officehours.New()) }
