// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package space

import (
	"errors"

	"github.com/bkp-tool/bkp/core"
)

// Of is errors.ErrUnsupported here.
func Of(string) (free, all core.Size, err error) { return 0, 0, errors.ErrUnsupported }
