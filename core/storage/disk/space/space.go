// SPDX-License-Identifier: Apache-2.0

// Package space says how much of a disk may be filled.
package space

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/bkp-tool/bkp/core"
)

// leastFree is what writing leaves free on a disk, or a hundredth of a small one: others die without it.
const leastFree = 256 * core.MiB

func floorOf(all core.Size) core.Size { return min(leastFree, all/100) }

// Room is how much more may be written to the disk of a directory until no more than what Admit leaves free is free;
// errors.ErrUnsupported where the system does not tell.
func Room(dir string) (core.Size, error) {
	free, all, err := Of(dir)
	if err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return max(0, free-floorOf(all)), nil
}

// Admit refuses to make a nearly full disk full: of all there is, more of what is free shall be taken.
func Admit(free, all, more core.Size) error {
	if floor := floorOf(all); free-more < floor {
		return core.WithHint(fmt.Errorf("%s more would leave less than %s free: %w", more, floor, syscall.ENOSPC),
			"%s", fullHint)
	}
	return nil
}

const fullHint = "free some space on its disk, or let go of what is no longer needed: bkp rm, then bkp gc"

// IsFull reports the error of a full disk, or of a quota that is used up.
func IsFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// Explain adds the next step to the error of a full disk.
func Explain(err error, dir string) error {
	if !IsFull(err) {
		return err
	}
	return core.WithHint(fmt.Errorf("%s: %w", dir, err), "%s", fullHint)
}
