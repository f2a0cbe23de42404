// SPDX-License-Identifier: Apache-2.0

// Command bkp-engine-etcd is package etcd as a process of its own.
package main

import (
	"github.com/bkp-tool/bkp/plugins/engines/etcd"
	"github.com/bkp-tool/bkp/plugins/serve"
)

func main() { serve.Engine(etcd.New()) }
