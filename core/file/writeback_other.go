// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package file

import "os"

func writeOut(*os.File, int64, int64) {}
