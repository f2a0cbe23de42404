// SPDX-License-Identifier: Apache-2.0

package file

import (
	"runtime"
	"sync"
)

// waiting is how many goroutines of a pipeline wait for a disk at a time, on the average.
const waiting = 2

var procs struct {
	sync.Mutex
	users, before int
}

// takeCores says how many cores there are to work on, and returns a function that must be called when the work is done.
// Go lends each of its processors to one goroutine, and where that one is in a read or a write of some milliseconds it
// takes the processor away late or not at all: on two cores a fifth of them lay idle. So there are some more of these
// while files are split, joined or verified; the kernel shares out the cores.
func takeCores() (cores int, done func()) {
	procs.Lock()
	defer procs.Unlock()
	if procs.users == 0 {
		procs.before = runtime.GOMAXPROCS(0)
		runtime.GOMAXPROCS(procs.before + waiting)
	}
	procs.users++
	return procs.before, func() {
		procs.Lock()
		defer procs.Unlock()
		if procs.users--; procs.users == 0 {
			runtime.GOMAXPROCS(procs.before)
		}
	}
}
