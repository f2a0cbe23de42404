// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// rig is one measurement: a trial's hosts and the processes on them.
type rig struct {
	*lab
	trial
	dir     string
	bkp     string // which bkp
	net     *network
	running []*process
	figure  *figure
	ids     map[string]string  // of nodes: host names
	victim  string             // the host that got a signal
	runs    int                // of the file, as it was placed
	delays  map[string]float64 // by host: seconds one way from the first one, as bkp measured it before anything moved
}

// process is a daemon on a host.
type process struct {
	*exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

func (r *rig) do(ctx context.Context, tool string) error {
	switch tool {
	case "bkp", "old":
		return r.bkpDoes(ctx)
	case "rsync":
		return r.rsyncDoes(ctx)
	case "aria2":
		return r.aria2Does(ctx)
	}
	return fmt.Errorf("there is no tool %q", tool)
}

// command is a program on a host, killed when the context ends or this program does.
func (r *rig) command(ctx context.Context, h host, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.namespace(), name}, args...)...)
	c.Dir = r.dir
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.WaitDelay = time.Second
	return c
}

// start runs a daemon on a host until stop; what it says goes to a file.
func (r *rig) start(h host, name string, args ...string) (*process, error) {
	p := &process{Cmd: r.command(context.Background(), h, name, args...), done: make(chan struct{})}
	p.log = filepath.Join(r.dir, fmt.Sprintf("%s-%d.log", h.name, len(r.running)))
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.Stdout, p.Stderr = out, out
	if err := p.Start(); err != nil {
		return nil, err
	}
	r.running = append(r.running, p)
	go func() { // owned by the process, which ends at the latest in stop
		_ = p.Wait()
		close(p.done)
	}()
	return p, nil
}

// run runs a program on a host to its end and returns its standard output.
func (r *rig) run(ctx context.Context, h host, name string, args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := r.runTo(ctx, h, &out, name, args...)
	if err != nil && out.Len() > 0 {
		err = fmt.Errorf("%w: %s", err, lastLines(out.String(), 3))
	}
	return out.Bytes(), err
}

// runTo is run with its standard output written to out as it comes.
func (r *rig) runTo(ctx context.Context, h host, out io.Writer, name string, args ...string) error {
	c := r.command(ctx, h, name, args...)
	var said bytes.Buffer
	c.Stdout, c.Stderr = out, &said
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(name), args[0], err, lastLines(said.String(), 3))
	}
	return nil
}

// ended says which daemon has ended by itself, and its last words.
func (r *rig) ended() error {
	for _, p := range r.running {
		select {
		case <-p.done:
			text, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s: a daemon ended: %s", filepath.Base(p.log), lastLines(string(text), 3))
		default:
		}
	}
	return nil
}

// stop ends all daemons: with TERM, and after a few seconds with KILL.
func (r *rig) stop() {
	for _, p := range r.running {
		_ = p.Process.Signal(syscall.SIGTERM)
	}
	late := time.After(5 * time.Second)
	for _, p := range r.running {
		select {
		case <-p.done:
		case <-late:
			for _, p := range r.running {
				_ = p.Process.Kill()
			}
			<-p.done
		}
	}
	r.running = nil
}

func (r *rig) down() error {
	r.stop()
	r.net.down()
	return removeHosts()
}

// eventually asks until the answer is yes, and says what it waited for where it never is.
func eventually(ctx context.Context, what string, yes func() (bool, error)) error {
	for {
		ok, err := yes()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New("waited for " + what + " in vain")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}

// count notes what each host sent and received since before.
func (r *rig) count(before sample) error {
	now, err := r.net.counters()
	if err != nil {
		return err
	}
	passed := now.since(before).all
	for i, h := range r.hosts {
		n := r.figure.host(h.name)
		n.Sent, n.Received, n.Payload = passed[i].Sent, passed[i].Received, passed[i].Payload
	}
	return nil
}

// host is a host's part in the figure, for more to be noted.
func (f *figure) host(name string) *hostFigure {
	i := slices.IndexFunc(f.Hosts, func(h hostFigure) bool { return h.Name == name })
	if i < 0 {
		f.Hosts = append(f.Hosts, hostFigure{Name: name})
		i = len(f.Hosts) - 1
	}
	return &f.Hosts[i]
}
