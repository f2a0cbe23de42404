// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An op is what a call does to files that have to last, whichever system call it is made by.
type op string

var ops = []op{"fsync", "rename", "create", "unlink", "truncate", "allocate", "write", "mkdir", "link", "writeback"}

// A call is a system call that is one of the ops. Its file is an open one, or a path below an open directory.
type call struct {
	op    op
	fd    int // the argument that is a file, or the directory that the path begins at; absent: the working directory
	path  int // the argument that is a path; absent: the file is fd
	flags int // the argument with flags of open, of which O_CREAT must be set; absent: it always counts
}

const absent = -1

var calls = map[uint32]call{
	unix.SYS_FSYNC:           {"fsync", 0, absent, absent},
	unix.SYS_FDATASYNC:       {"fsync", 0, absent, absent},
	unix.SYS_RENAME:          {"rename", absent, 1, absent},
	unix.SYS_RENAMEAT:        {"rename", 2, 3, absent},
	unix.SYS_RENAMEAT2:       {"rename", 2, 3, absent},
	unix.SYS_OPEN:            {"create", absent, 0, 1},
	unix.SYS_OPENAT:          {"create", 0, 1, 2},
	unix.SYS_CREAT:           {"create", absent, 0, absent},
	unix.SYS_UNLINK:          {"unlink", absent, 0, absent},
	unix.SYS_UNLINKAT:        {"unlink", 0, 1, absent},
	unix.SYS_RMDIR:           {"unlink", absent, 0, absent},
	unix.SYS_TRUNCATE:        {"truncate", absent, 0, absent},
	unix.SYS_FTRUNCATE:       {"truncate", 0, absent, absent},
	unix.SYS_FALLOCATE:       {"allocate", 0, absent, absent},
	unix.SYS_WRITE:           {"write", 0, absent, absent},
	unix.SYS_PWRITE64:        {"write", 0, absent, absent},
	unix.SYS_WRITEV:          {"write", 0, absent, absent},
	unix.SYS_PWRITEV:         {"write", 0, absent, absent},
	unix.SYS_PWRITEV2:        {"write", 0, absent, absent},
	unix.SYS_SENDFILE:        {"write", 0, absent, absent},
	unix.SYS_COPY_FILE_RANGE: {"write", 2, absent, absent},
	unix.SYS_SPLICE:          {"write", 2, absent, absent},
	unix.SYS_MKDIR:           {"mkdir", absent, 0, absent},
	unix.SYS_MKDIRAT:         {"mkdir", 0, 1, absent},
	unix.SYS_LINK:            {"link", absent, 1, absent},
	unix.SYS_LINKAT:          {"link", 2, 3, absent},
	unix.SYS_SYMLINK:         {"link", absent, 1, absent},
	unix.SYS_SYMLINKAT:       {"link", 1, 2, absent},
	unix.SYS_SYNC_FILE_RANGE: {"writeback", 0, absent, absent},
}

// file is the path of what the stopped thread is about to act on; empty for what is no file (a socket, a pipe, a bad
// address).
func (c call) file(tid int, args [6]uint64) string {
	at := fmt.Sprintf("/proc/%d/cwd", tid)
	if c.fd != absent && int32(args[c.fd]) != unix.AT_FDCWD {
		at = openFile(tid, args[c.fd])
	}
	if c.path == absent {
		name, _ := os.Readlink(at)
		return name
	}
	name := text(tid, uintptr(args[c.path]))
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	dir, err := os.Readlink(at)
	if err != nil {
		return ""
	}
	return filepath.Join(dir, name)
}

// idle reports that the call would change nothing: the directory is there, or what is to go is not. Such calls are not
// counted.
func (c call) idle(name string) bool {
	_, err := os.Lstat(name)
	return c.op == "mkdir" && err == nil || c.op == "unlink" && errors.Is(err, fs.ErrNotExist)
}

func openFile(tid int, fd uint64) string { return fmt.Sprintf("/proc/%d/fd/%d", tid, int32(fd)) }

// text reads a string out of the memory of a stopped thread, a page at a time since the next one may not be there.
func text(tid int, at uintptr) string {
	var out []byte
	for len(out) < unix.PathMax {
		part := make([]byte, 4096-at%4096)
		n, err := unix.ProcessVMReadv(tid, []unix.Iovec{{Base: &part[0], Len: uint64(len(part))}},
			[]unix.RemoteIovec{{Base: at, Len: len(part)}}, 0)
		if err != nil || n == 0 {
			return ""
		}
		if end := bytes.IndexByte(part[:n], 0); end >= 0 {
			return string(append(out, part[:end]...))
		}
		out, at = append(out, part[:n]...), at+uintptr(n)
	}
	return ""
}

func under(dirs []string, name string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool {
		rest, ok := strings.CutPrefix(name, dir)
		return ok && (rest == "" || rest[0] == '/')
	})
}

// filter has this thread, and what it becomes by exec, stop at the calls of these ops. All others run at full speed.
func filter(of []op) error {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		set   = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		ret   = unix.BPF_RET | unix.BPF_K
	)
	allow := unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW}
	stop := unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_TRACE}
	// struct seccomp_data: the call's number at 0, the architecture at 4, the arguments from 16 on, 8 bytes each, low
	// half first.
	code := []unix.SockFilter{
		{Code: load, K: 4}, {Code: equal, K: unix.AUDIT_ARCH_X86_64, Jt: 1}, allow, {Code: load, K: 0},
	}
	for nr, c := range calls {
		switch {
		case !slices.Contains(of, c.op):
		case c.flags == absent:
			code = append(code, unix.SockFilter{Code: equal, K: nr, Jf: 1}, stop)
		default:
			code = append(code, unix.SockFilter{Code: equal, K: nr, Jf: 4},
				unix.SockFilter{Code: load, K: uint32(16 + 8*c.flags)},
				unix.SockFilter{Code: set, K: unix.O_CREAT, Jf: 1}, stop, allow)
		}
	}
	code = append(code, allow)
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0,
		uintptr(unsafe.Pointer(&program))); errno != 0 {
		return fmt.Errorf("seccomp filter: %w", errno)
	}
	return nil
}
