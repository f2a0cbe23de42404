// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// touchMemory writes to so many bytes of free memory, but not to the last GiB of it, and lets go. On a virtual machine
// the first touch of a page makes the host find one, and a page that has been free for some seconds may be the host's
// again.
func touchMemory(bytes int64) error {
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
	for left = min(left<<10-spare, bytes); left > piece; left -= piece {
		memory, err := syscall.Mmap(-1, 0, piece, syscall.PROT_READ|syscall.PROT_WRITE,
			syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			return fmt.Errorf("mmap: %w", err)
		}
		for i := 0; i < len(memory); i += os.Getpagesize() {
			memory[i] = 1
		}
	}
	return nil // the end of the process lets go
}
