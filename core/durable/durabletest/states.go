// SPDX-License-Identifier: Apache-2.0

package durabletest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

// State is what a power loss may leave.
type State struct {
	Promises []any  // what had been told to somebody before, oldest first
	What     string // says how it came about
	disk     *disk
}

// write makes the roots as they are in this state below dir, and returns where.
func (s State) write(dir string, roots []string) (at []string, err error) {
	for i, root := range roots {
		at = append(at, filepath.Join(dir, strconv.Itoa(i)))
		if err := s.disk.roots[root].write(at[i]); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// Budget is how many states a test tries: BKP_POWER_STATES of the whole where that is set, else few, and fewer with
// -short, as under the race detector. share is the test's part of 100 of all.
func Budget(share int) int {
	if n, err := strconv.Atoi(os.Getenv("BKP_POWER_STATES")); err == nil {
		return max(1, n*share/100)
	}
	if testing.Short() {
		return 1_000 * share / 100
	}
	return 10_000 * share / 100
}

// Check tries the recovery on at most budget different states, spread evenly over the recording, and reports how many
// there were in a line that make faults adds up, and to the caller. recover is given the real copies of the roots and
// what had been promised; its error fails the test, with how the state came about. Seeds are fixed: the same recording
// gives the same states.
func (r *Recorder) Check(t *testing.T, budget int, recover func(roots []string, promises []any) error) (tried int) {
	t.Helper()
	var count atomic.Int64
	err := r.Survives(budget, func(roots []string, promises []any) error {
		count.Add(1)
		return recover(roots, promises)
	})
	if err != nil {
		t.Fatal(err)
	}
	if tried = int(count.Load()); tried == 0 {
		t.Fatal("no states: nothing was recorded")
	}
	fmt.Printf("power-loss states: %d %s\n", tried, t.Name())
	return tried
}

// Survives is Check for who wants the first failure.
func (r *Recorder) Survives(budget int, recover func(roots []string, promises []any) error) error {
	r.Stop()
	scratch, err := scratchDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	tries, ctx := errgroup.WithContext(context.Background())
	tries.SetLimit(runtime.GOMAXPROCS(0))
	for s := range r.states(budget) {
		if ctx.Err() != nil {
			break
		}
		tries.Go(func() error { return s.survived(scratch, r.roots, recover) })
	}
	return tries.Wait()
}

// survived tries the recovery on a state.
func (s State) survived(scratch string, roots []string, recover func(roots []string, promises []any) error) error {
	dir, err := os.MkdirTemp(scratch, "")
	if err != nil {
		return err
	}
	at, err := s.write(dir, roots)
	if err != nil {
		return err
	}
	if err := recover(at, s.Promises); err != nil {
		return fmt.Errorf("after a power loss %s: %w", s.What, err)
	}
	return os.RemoveAll(dir)
}

// Dir is an empty directory for what is recorded, in memory where that can be: no test waits for a disk.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := scratchDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// scratchDir is a directory in memory where there is one, since states are many.
func scratchDir() (string, error) {
	if dir, err := os.MkdirTemp("/dev/shm", "bkp-power-"); err == nil {
		return dir, nil
	}
	return os.MkdirTemp("", "bkp-power-")
}

// states yields different states, at most budget of them: for each moment, with what was not synced by then all lost,
// all there, each one alone, all but one, random parts, the last write torn.
func (r *Recorder) states(budget int) func(yield func(State) bool) {
	return func(yield func(State) bool) {
		all := r.moments()
		seen := map[[sha256.Size]byte]bool{}
		per := max(2, budget/max(1, len(all)))
		left := budget
		for i, m := range all {
			here := min(left, max(per, left/(len(all)-i))) // what earlier moments did not use is there for later ones
			for _, s := range m.states(here, uint64(i)) {
				key := sha256.Sum256(fmt.Appendf(nil, "%x %d", s.disk.sum(), len(s.Promises)))
				if seen[key] {
					continue
				}
				seen[key] = true
				if left--; left < 0 || !yield(s) {
					return
				}
			}
		}
	}
}

// moment is the time after one step.
type moment struct {
	number   int
	after    string // the step, for people
	durable  *disk  // what no power loss takes any more
	pending  []step // what may be there or not
	promises []any
}

// moments replays the recording. A moment is worth trying where something changed since the one before.
func (r *Recorder) moments() (all []moment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var m moment
	for i, s := range r.steps {
		m.number, m.after = i, s.says
		switch s.kind {
		case stepBase:
			m.durable = s.base
		case stepPromise:
			m.promises = append(slices.Clip(m.promises), s.promise)
		case stepSync, stepSyncDir:
			m.durable, m.pending = settle(m.durable, m.pending, s)
		default:
			m.pending = append(slices.Clip(m.pending), s)
		}
		all = append(all, m)
	}
	return all
}

// settle moves what a sync covers from pending to durable.
func settle(durable *disk, pending []step, sync step) (*disk, []step) {
	durable = durable.clone()
	var rest []step
	for _, s := range pending {
		covered := sync.kind == stepSync && (s.kind == stepWrite || s.kind == stepSize) && s.node == sync.node ||
			sync.kind == stepSyncDir && s.kind == stepName && s.dir == sync.dir
		if s.kind == stepName && s.is != 0 && durable.nodes[s.node] == nil {
			durable.make(s.node, s.is) // the inode is there before its name is
		}
		if covered {
			durable.apply(s)
		} else {
			rest = append(rest, s)
		}
	}
	return durable, rest
}

// states are those that this moment may leave, at most budget.
func (m moment) states(budget int, seed uint64) (out []State) {
	n := len(m.pending)
	add := func(what string, chosen func(i int) bool, torn bool) {
		if len(out) < budget {
			out = append(out, m.state(what, chosen, torn))
		}
	}
	add("with nothing that was not synced", func(int) bool { return false }, false)
	if n == 0 {
		return out
	}
	add("with all that was not synced", func(int) bool { return true }, false)
	add("with the last write torn", func(int) bool { return true }, true)
	random := rand.New(rand.NewPCG(seed, 1))
	for _, i := range random.Perm(n) {
		add(fmt.Sprintf("with %s alone of %d steps", m.pending[i].says, n), func(j int) bool { return j == i }, false)
		add(fmt.Sprintf("without %s of %d steps", m.pending[i].says, n), func(j int) bool { return j != i }, false)
	}
	for range min(budget-len(out), 4*n) {
		bits := make([]bool, n)
		for i := range bits {
			bits[i] = random.IntN(2) == 0
		}
		add("with a random part of what was not synced", func(i int) bool { return bits[i] }, random.IntN(4) == 0)
	}
	return out
}

// state applies the chosen of the pending steps. Torn, the last write that is chosen is there in part only.
func (m moment) state(what string, chosen func(i int) bool, torn bool) State {
	d := m.durable.clone()
	for _, s := range m.pending {
		if s.kind == stepName && s.is != 0 && d.nodes[s.node] == nil {
			d.make(s.node, s.is)
		}
	}
	last := -1
	for i, s := range m.pending {
		if chosen(i) && s.kind == stepWrite {
			last = i
		}
	}
	for i, s := range m.pending {
		if !chosen(i) {
			continue
		}
		if torn && i == last {
			s = d.tear(s)
		}
		d.apply(s)
	}
	return State{Promises: m.promises, What: fmt.Sprintf("at step %d, %s, %s", m.number, m.after, what), disk: d}
}

// tear makes a write one of which only the first sectors came to the disk: behind them stands what stood there before.
func (d *disk) tear(s step) step {
	n := d.file(s.node)
	if n == nil {
		return s
	}
	torn, at := slices.Clone(s.data), tearAt(len(s.data))
	clear(torn[at:])
	if from := s.at + int64(at); from < int64(len(n.data)) {
		copy(torn[at:], n.data[from:])
	}
	s.data = torn
	return s
}

// tearAt is where a write of so many bytes is torn: at a sector near its middle, or within its only one.
func tearAt(size int) int {
	if half := size / 2 &^ 511; half > 0 {
		return half
	}
	return size / 2
}
