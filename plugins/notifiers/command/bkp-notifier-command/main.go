// SPDX-License-Identifier: Apache-2.0

// Command bkp-notifier-command is package command as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins/notifiers/command"
	"github.com/bkp-tool/bkp/plugins/serve"
)

func main() { serve.Notifier(command.New()) }
