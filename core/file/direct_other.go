// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package file

import "github.com/bkp-tool/bkp/core/durable"

// direct writes past the page cache where the system can; here it cannot.
type direct struct{}

func openDirect(string, *durable.File) *direct { return nil }
func (*direct) write([]byte, int64) error      { return nil }
func (*direct) finish() error                  { return nil }
func (*direct) close()                         {}
