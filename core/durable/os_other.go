// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package durable

import (
	"errors"
	"os"
)

func setDirect(*os.File, bool) bool { return false }

func allocate(*os.File, int64, int64) error { return errors.ErrUnsupported }

func punch(*os.File, int64, int64) error { return errors.ErrUnsupported }

func exchange(string, string) error { return errors.ErrUnsupported }
