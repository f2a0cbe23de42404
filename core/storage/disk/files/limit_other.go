// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package files

func limit() int { return 256 }
