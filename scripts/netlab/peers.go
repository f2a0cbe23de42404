// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// What other programs do: one sends to all in parallel, others are swarms. Their time is from the start of the
// receivers to the last one's complete file, which is then compared.

// receivers is every host but the first.
func (r *rig) receivers() []host { return r.hosts[1:] }

func (r *rig) received(h host) string { return filepath.Join(r.dir, h.name, "file") }

// makeDirs gives every host a directory of its own.
func (r *rig) makeDirs() (err error) {
	for _, h := range r.hosts {
		err = errors.Join(err, os.MkdirAll(r.data(h), 0o700))
	}
	return err
}

// timed shapes the links, counts what passes while do runs, and takes its time.
func (r *rig) timed(do func() error) error {
	if err := r.net.shape(); err != nil {
		return err
	}
	before, err := r.net.counters()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := do(); err != nil {
		return err
	}
	r.figure.Seconds = time.Since(began).Seconds()
	return r.count(before)
}

// verified compares what every receiver got with the file.
func (r *rig) verified() error {
	for _, h := range r.receivers() {
		if err := equal(r.file, r.received(h)); err != nil {
			return fmt.Errorf("%s: %w", h.name, err)
		}
	}
	return nil
}

// rsyncDoes sends the file to the daemons on all receivers at once.
func (r *rig) rsyncDoes(ctx context.Context) error {
	if err := r.makeDirs(); err != nil {
		return err
	}
	for i, h := range r.receivers() {
		conf := filepath.Join(r.dir, h.name+".conf")
		text := fmt.Sprintf("use chroot = no\nuid = 0\ngid = 0\npid file = %s.pid\n[all]\npath = %s\nread only = no\n",
			r.data(h), r.data(h))
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			return err
		}
		if _, err := r.start(h, "rsync", "--daemon", "--no-detach", "--address", address(i+1), "--config",
			conf); err != nil {
			return err
		}
	}
	time.Sleep(time.Second) // they have no way to say that they listen
	if err := r.ended(); err != nil {
		return err
	}
	err := r.timed(func() error {
		type end struct {
			host host
			err  error
		}
		ends, began := make(chan end), time.Now()
		for i, h := range r.receivers() {
			go func() {
				_, err := r.run(ctx, r.hosts[0], "rsync", "--whole-file", "--inplace", r.file,
					fmt.Sprintf("rsync://%s/all/file", address(i+1)))
				ends <- end{h, err}
			}()
		}
		var err error
		for range r.receivers() {
			e := <-ends
			r.figure.host(e.host.name).Seconds = time.Since(began).Seconds()
			err = errors.Join(err, e.err)
		}
		return err
	})
	return errors.Join(err, r.verified())
}

// aria2Does gives the file to all as a torrent, or fetches it from all over HTTP.
func (r *rig) aria2Does(ctx context.Context) error {
	if err := r.makeDirs(); err != nil {
		return err
	}
	if r.fetch {
		return r.aria2Fetches(ctx)
	}
	first := r.hosts[0]
	torrent := filepath.Join(r.dir, "file.torrent")
	if err := writeTorrent(torrent, r.file, trackerURL()); err != nil {
		return err
	}
	if err := r.serve(first, "-tracker", fmt.Sprintf("%s:%d", address(0), trackerPort)); err != nil {
		return err
	}
	if err := os.Link(r.file, r.received(first)); err != nil {
		return err
	}
	if _, err := r.start(first, "aria2c", r.swarm(first, torrent, "--check-integrity=true")...); err != nil {
		return err
	}
	if err := r.seeding(ctx); err != nil {
		return err
	}
	began := time.Now()
	err := r.timed(func() error {
		began = time.Now()
		for _, h := range r.receivers() {
			if _, err := r.start(h, "aria2c", r.swarm(h, torrent,
				"--on-bt-download-complete="+r.marker(h))...); err != nil {
				return err
			}
		}
		return r.allDone(ctx, began)
	})
	return errors.Join(err, r.verified())
}

// swarm is aria2's command line: no other discovery than the tracker, no limits, no waiting to preallocate, seed to the
// end.
func (r *rig) swarm(h host, torrent string, more ...string) []string {
	return slices.Concat([]string{"--no-conf", "--dir=" + r.data(h), "--enable-dht=false", "--enable-dht6=false",
		"--bt-enable-lpd=false",
		"--enable-peer-exchange=true", "--listen-port=6881", "--file-allocation=none", "--seed-ratio=0.0",
		"--bt-max-peers=0",
		"--bt-request-peer-speed-limit=1000M", "--bt-tracker-interval=2", "--summary-interval=0",
		"--console-log-level=warn"}, more, []string{torrent})
}

// marker is a program that notes that a host has the whole file.
func (r *rig) marker(h host) string {
	path := filepath.Join(r.dir, h.name+"-whole")
	_ = os.WriteFile(path, []byte(fmt.Sprintf("#!/bin/sh\n: > %s.done\n", path)), 0o700)
	return path
}

// allDone waits for every receiver's mark and notes when it came.
func (r *rig) allDone(ctx context.Context, began time.Time) error {
	return eventually(ctx, "all receivers to have the file", func() (bool, error) {
		whole := true
		for _, h := range r.receivers() {
			if f := r.figure.host(h.name); f.Seconds == 0 {
				if _, err := os.Stat(filepath.Join(r.dir, h.name+"-whole.done")); err != nil {
					whole = false
					continue
				}
				f.Seconds = time.Since(began).Seconds()
			}
		}
		return whole, r.ended()
	})
}

// seeding waits until the source has told the tracker that it has the whole file.
func (r *rig) seeding(ctx context.Context) error {
	return eventually(ctx, "the seeder to be ready", func() (bool, error) {
		said, err := os.ReadFile(r.running[0].log) // the tracker's, the first to be started
		return err == nil && len(said) > 0, r.ended()
	})
}

// aria2Fetches gets the file from a web server on every other host at once, over one connection each: more of them made
// it slower.
func (r *rig) aria2Fetches(ctx context.Context) error {
	first := r.hosts[0]
	args := []string{"--no-conf", "--dir=" + r.data(first), "--out=file", "--file-allocation=none",
		"--max-connection-per-server=1",
		"--split=" + fmt.Sprint(r.others()), "--min-split-size=1M", "--summary-interval=0", "--console-log-level=warn"}
	for i, h := range r.receivers() {
		if err := os.Link(r.file, r.received(h)); err != nil {
			return err
		}
		at := fmt.Sprintf("%s:8080", address(i+1))
		if err := r.serve(h, "-files", r.data(h), at); err != nil {
			return err
		}
		args = append(args, "http://"+at+"/file")
	}
	time.Sleep(300 * time.Millisecond)
	err := r.timed(func() error {
		_, err := r.run(ctx, first, "aria2c", args...)
		return err
	})
	return errors.Join(err, r.ended(), equal(r.file, r.received(first)))
}

// serve starts a server of this program on a host.
func (r *rig) serve(h host, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	_, err = r.start(h, self, args...)
	return err
}
