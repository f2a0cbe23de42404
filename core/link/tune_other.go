// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !darwin

package link

func lowerUnsent(uintptr) {}
