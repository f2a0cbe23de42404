package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// touchMemory writes to every page that is free or can be made so, but for the last GiB, and lets go of it. On a virtual machine the
// first touch of a page makes the host find one: whoever runs first would pay for it.
func touchMemory() error {
	const piece, spare = 256 << 20, 1 << 30
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	var left int64
	for line := range strings.Lines(string(text)) {
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &left); n == 1 {
			break
		}
	}
	for left = left<<10 - spare; left > piece; left -= piece {
		memory, err := syscall.Mmap(-1, 0, piece, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			return fmt.Errorf("mmap: %w", err)
		}
		for i := 0; i < len(memory); i += os.Getpagesize() {
			memory[i] = 1
		}
	}
	return nil // the end of the process lets go
}
