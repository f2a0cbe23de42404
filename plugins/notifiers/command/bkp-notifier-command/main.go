// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/bkp-tool/bkp/plugins/notifiers/command"
	"github.com/bkp-tool/bkp/plugins/serve"
)

func main() { serve.Notifier(command.New()) }
