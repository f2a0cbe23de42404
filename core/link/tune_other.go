//go:build !linux && !darwin

package link

func lowerUnsent(uintptr) {}
