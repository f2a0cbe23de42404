// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/bkp-tool/bkp/plugins/notifiers/webhook"
	"github.com/bkp-tool/bkp/plugins/serve"
)

func main() { serve.Notifier(webhook.New()) }
