// SPDX-License-Identifier: Apache-2.0

// Command bkp-engine-folder is package folder as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins/engines/folder"
	"github.com/bkp-tool/bkp/plugins/serve"
)

func main() { serve.Engine(folder.New()) }
