//go:build !linux

package file

import "os"

func writeOut(*os.File, int64, int64) {}
