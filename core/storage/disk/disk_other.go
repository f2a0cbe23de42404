//go:build !linux

package disk

import (
	"errors"
	"os"

	"github.com/bkp-tool/bkp/core"
)

func setDirect(*os.File, bool) bool { return false }

func allocate(*os.File, int64, int64) error { return errors.ErrUnsupported }

func diskSpace(string) (free, all core.Size, err error) { return 0, 0, errors.ErrUnsupported }

func fileLimit() int { return 256 }
