// SPDX-License-Identifier: Apache-2.0

// Command bkp-notifier-webhook is package webhook as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins/notifiers/webhook"
	"github.com/bkp-tool/bkp/plugins/serve"
)

func main() { serve.Notifier(webhook.New()) }
