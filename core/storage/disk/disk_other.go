// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package disk

import (
	"errors"

	"github.com/bkp-tool/bkp/core"
)

func diskSpace(string) (free, all core.Size, err error) { return 0, 0, errors.ErrUnsupported }

func fileLimit() int { return 256 }
