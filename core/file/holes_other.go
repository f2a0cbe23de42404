//go:build !linux && !darwin && !freebsd

package file

import (
	"errors"
	"io/fs"
	"os"
)

func nextHole(*os.File, int64) (start, end int64, err error) { return 0, 0, errors.ErrUnsupported }

func inode(fs.FileInfo) string { return "" }
