// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// adopt has the kernel make bkp the parent of what a plugin started, once the one who started it has ended.
var adopt = sync.OnceValue(func() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })

// limit has the kernel hold each process of a plugin to its memory.
func limit(pid int, l limits) error {
	most := unix.Rlimit{Cur: uint64(l.memory), Max: uint64(l.memory)}
	return unix.Prlimit(pid, unix.RLIMIT_DATA, &most, nil)
}

func killGroup(pid int, _ *os.Process) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// endAll ends all that the plugin started, whatever group or session that went to, until there is none: each is stopped
// first, since one may start another while it is looked for.
func (c *child) endAll() {
	for range 100 {
		found, ended := c.family(), false
		for _, p := range found {
			_ = syscall.Kill(p.pid, syscall.SIGSTOP)
		}
		for _, p := range found {
			if syscall.Kill(p.pid, syscall.SIGKILL) != nil {
				continue // it has become another user's
			}
			ended = true
			if p.parent == os.Getpid() { // adopted: nobody else waits for it
				_, _ = syscall.Wait4(p.pid, nil, 0, nil)
			}
		}
		if !ended {
			return
		}
	}
}

// proc is a process by its line in /proc.
type proc struct {
	pid, parent, group, session int
	zombie                      bool
}

// family is what a plugin started, without its own process: what stands below it or in its group, what has its mark in
// its environment (as Jenkins finds what a build left behind, ProcessTreeKiller), and what bkp adopted from a session
// that is not bkp's, where it has no other plugin's mark. What took the mark out of its environment, left the group and
// lost its parent, but stayed in bkp's session, is not found.
func (c *child) family() (found []proc) {
	root, self := int(c.pid.Load()), os.Getpid()
	if root == 0 {
		return nil // not started
	}
	session, _ := unix.Getsid(0)
	below := map[int]bool{root: true}
	all := allProcs()
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if !below[p.pid] && below[p.parent] {
				below[p.pid], grown = true, true
			}
		}
	}
	for _, p := range all {
		if _, plugin := children.Load(p.pid); plugin || p.pid == self {
			continue
		}
		ours := below[p.pid] || p.group == root
		if !ours {
			env, _ := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/environ")
			env = append([]byte{0}, env...)
			ours = bytes.Contains(env, []byte("\x00"+c.mark+"\x00")) ||
				p.parent == self && p.session != session && !bytes.Contains(env, []byte("\x00"+markKey+"="))
		}
		if ours && (!p.zombie || p.parent == self) {
			found = append(found, p)
		}
	}
	return found
}

func allProcs() (all []proc) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		_, after, _ := bytes.Cut(stat, []byte(") ")) // what stands before may have any letters
		fields := bytes.Fields(after)
		if err != nil || len(fields) < 4 {
			continue
		}
		p := proc{pid: pid, zombie: string(fields[0]) == "Z"}
		for i, to := range []*int{&p.parent, &p.group, &p.session} {
			*to, _ = strconv.Atoi(string(fields[i+1]))
		}
		all = append(all, p)
	}
	return all
}

// threads is how many threads the machine has.
func threads() int {
	words, _ := os.ReadFile("/proc/loadavg") // 0.61 0.55 0.44 2/871 12345
	_, after, _ := bytes.Cut(words, []byte("/"))
	count, _, _ := bytes.Cut(after, []byte(" "))
	n, _ := strconv.Atoi(string(count))
	return n
}
