// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable/durabletest"
)

func quiet(control.Status) {}

// place gives a version two copies.
func (m *mesh) place(t *testing.T, number int, status func(control.Status)) {
	t.Helper()
	args := control.PlaceArgs{Name: "f", Version: number, Replicas: 2, Strategy: "seed"}
	_, err := m.nodes[sourceName].Place(t.Context(), args, status)
	check(t, err)
	m.Promise(allCopies{numbered{"f", number}})
}

func (m *mesh) survive(budget int) (tried int) {
	m.t.Helper()
	return m.Check(m.t, budget, func(roots []string, words []any) error { return m.survives(roots, words, 2) })
}

// TestPowerLossPlace places two versions of which the second reuses runs, forgets one, and collects at every node.
func TestPowerLossPlace(t *testing.T) {
	recordings(13, func(seed, budget int) int {
		m := newMesh(t, 1+seed, "a", "b", "c", "d")
		if seed%2 == 0 {
			delete(m.nodes, "d")
		}
		file := filepath.Join(t.TempDir(), "file")
		var contents [][]byte
		for n := 1; n <= 2; n++ {
			content := m.write(file, 3+seed%6)
			if n > 1 {
				copy(content, contents[0][:2*block])
				check(t, os.WriteFile(file, content, 0o600))
			}
			contents = append(contents, content)
			m.does("split", file, "--name", "f", "--chunker", "fixed")
		}
		m.record()
		for n, content := range contents {
			m.Promise(word{numbered{"f", n + 1}, content, true})
		}
		synctest.Test(t, func(t *testing.T) {
			m.start(t, "10MiB")
			defer m.stop(t)
			m.place(t, 1, quiet)
			m.place(t, 2, quiet)
			gone := word{numbered{"f", 1 + seed/2%2}, nil, false}
			m.Promise(gone)
			_, err := m.nodes[sourceName].Remove(t.Context(), control.RemoveArgs{Name: "f", Version: gone.number},
				quiet)
			check(t, err)
			gone.told = true
			m.Promise(gone)
			for _, name := range m.names() {
				_, err := m.nodes[name].Collect(t.Context(), control.None{}, quiet)
				check(t, err)
			}
		})
		return m.survive(budget)
	})
}

// TestPowerLossOfALostTarget has others take over from a target that goes while the bytes move.
func TestPowerLossOfALostTarget(t *testing.T) {
	others := 0
	recordings(5, func(seed, budget int) int {
		m := newMesh(t, 100+seed, "a", "b", "c", "d")
		file := filepath.Join(t.TempDir(), "file")
		content := make([]byte, 600<<10+seed<<10) // that does not compress
		m.random.Read(content)
		check(t, os.WriteFile(file, content, 0o600))
		m.does("split", file, "--name", "f", "--chunker", "fixed")
		m.record()
		m.Promise(word{numbered{"f", 1}, content, true})
		synctest.Test(t, func(t *testing.T) {
			m.start(t, "100KiB")
			defer m.stop(t)
			m.lose(t, time.Second+time.Duration(seed)*100*time.Millisecond)
			m.place(t, 1, func(s control.Status) {
				if strings.Contains(s.Text, "go to others") {
					others++
				}
			})
		})
		return m.survive(budget)
	})
	if others == 0 {
		t.Error("nobody took over")
	}
}

// lose cuts off a target of the placement that is about to begin.
func (m *mesh) lose(t *testing.T, after time.Duration) {
	t.Helper()
	args := control.PlaceArgs{Name: "f", Replicas: 2, Strategy: "seed", DryRun: true}
	plan, err := m.nodes[sourceName].Place(t.Context(), args, quiet)
	check(t, err)
	for name, x := range m.nodes {
		if x.signer.ID() == plan.Placements[0].Node {
			time.AfterFunc(after, func() { m.net.Cut(name) })
		}
	}
}

// placedMesh is a mesh in which the source has placed one version, before anything is recorded, and who keeps it.
func placedMesh(t *testing.T, seed int, names ...string) (m *mesh, holders []string) {
	t.Helper()
	m = newMesh(t, seed, names...)
	file := filepath.Join(t.TempDir(), "file")
	content := m.write(file, 2+seed%6)
	m.does("split", file, "--name", "f", "--chunker", "fixed")
	synctest.Test(t, func(t *testing.T) {
		m.start(t, "10MiB")
		defer m.stop(t)
		args := control.PlaceArgs{Name: "f", Replicas: 2, Strategy: "seed"}
		if other := m.nodes[otherName]; other != nil {
			args.Exclude = []string{other.signer.ID().String()}
		}
		r, err := m.nodes[sourceName].Place(t.Context(), args, quiet)
		check(t, err)
		for _, p := range r.Placements {
			holders = append(holders, p.Node.String())
		}
	})
	m.record()
	m.again = true
	m.Promise(word{numbered{"f", 1}, content, true})
	return m, holders
}

// TestPowerLossDrain has others take over from a holder, which lets go then.
func TestPowerLossDrain(t *testing.T) {
	recordings(5, func(seed, budget int) int {
		m, holders := placedMesh(t, 300+seed, "a", "b", "c", "d")
		synctest.Test(t, func(t *testing.T) {
			m.start(t, "10MiB")
			defer m.stop(t)
			_, err := m.nodes[sourceName].Drain(t.Context(), control.DrainArgs{Node: holders[0]}, quiet)
			check(t, err)
			for _, name := range m.names() {
				_, err := m.nodes[name].Collect(t.Context(), control.None{}, quiet)
				check(t, err)
			}
		})
		return m.survive(budget)
	})
}

// TestPowerLossTakeOver has another machine of the owner see to a version, and then the first one again.
func TestPowerLossTakeOver(t *testing.T) {
	recordings(5, func(seed, budget int) int {
		m, holders := placedMesh(t, 400+seed, "a", "b", "c", otherName)
		synctest.Test(t, func(t *testing.T) {
			m.start(t, "10MiB")
			defer m.stop(t)
			for _, name := range []string{otherName, sourceName} {
				time.Sleep(2 * time.Second)
				args := control.PlaceArgs{Name: "f", Replicas: 2, Strategy: "seed", Only: holders}
				_, err := m.nodes[name].Place(t.Context(), args, quiet)
				check(t, err)
			}
		})
		return m.survive(budget)
	})
}

// TestPowerLossBackup backs a file up window by window; it is stopped after the first checkpoint, and goes on there.
func TestPowerLossBackup(t *testing.T) {
	recordings(11, func(seed, budget int) int {
		m := newMesh(t, 200+seed, "a", "b", "c")
		m.unnoted = true
		file := filepath.Join(t.TempDir(), "file")
		content := m.write(file, 26+seed%7) // the last window is no whole one: its end is no checkpoint
		m.record()
		m.Promise(word{numbered{"f", 1}, content, false})
		synctest.Test(t, func(t *testing.T) {
			m.start(t, "10MiB")
			defer m.stop(t)
			args := control.BackupArgs{Input: file, Name: "f", Window: core.MiB, Chunker: chunk.MethodFixed,
				Compression: "default",
				Replicas:    2, Strategy: "seed"}
			m.interruptedBackup(t, args)
			r, err := m.nodes[sourceName].Backup(t.Context(), args, quiet)
			check(t, err)
			if r.Resumed == 0 {
				t.Error("it began anew")
			}
			m.Promise(word{numbered{"f", 1}, content, true})
			m.Promise(allCopies{numbered{"f", 1}})
		})
		return m.survive(budget)
	})
}

// interruptedBackup is stopped when it has a checkpoint.
func (m *mesh) interruptedBackup(t *testing.T, args control.BackupArgs) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	m.Fail(func(op durabletest.Op) error {
		found, _ := filepath.Glob(homeIn(m.root).Path("refs", "*", "checkpoint"))
		if op.Kind == "syncdir" && len(found) > 0 {
			stop()
		}
		return nil
	})
	defer m.Fail(nil)
	if _, err := m.nodes[sourceName].Backup(ctx, args, quiet); err == nil {
		t.Error("the backup was not stopped")
	}
}
