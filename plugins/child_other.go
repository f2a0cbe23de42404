// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package plugins

import (
	"os"
	"syscall"
)

// ownGroup: a plugin here outlives a bkp that was killed, until it next writes to it.
func ownGroup() *syscall.SysProcAttr { return nil }

func killGroup(_ int, process *os.Process) { _ = process.Kill() }

func adopt() error { return nil }

// limit: other systems have no way to limit another process.
func limit(int, limits) error { return nil }

// endAll: what a plugin started cannot be found everywhere.
func (c *child) endAll() {}

func (c *child) family() []struct{} { return nil }

func threads() int { return 0 }
