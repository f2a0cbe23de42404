// SPDX-License-Identifier: Apache-2.0

// Command bkp-notifier-smtp is package smtp as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins/notifiers/smtp"
	"github.com/bkp-tool/bkp/plugins/serve"
)

func main() { serve.Notifier(smtp.New()) }
