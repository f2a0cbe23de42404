// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/placements"
)

// TestSeeds draws clusters and what befalls them, and holds them against what bkp promises: at every moment a fetch
// gives the bytes or says that it cannot; once everybody is there again all that was placed has its copies back,
// without a person; and what was removed leaves nothing behind. It draws BKP_SEEDS=FIRST-LAST, as make life has it.
func TestSeeds(t *testing.T) {
	drawn := os.Getenv("BKP_SEEDS")
	if drawn == "" {
		t.Skip("runs where BKP_SEEDS says which: make life")
	}
	from, to, _ := strings.Cut(drawn, "-")
	first, _ := strconv.Atoi(from)
	last, _ := strconv.Atoi(to)
	for seed := first; seed <= max(first, last); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			virtual(t, func(t *testing.T) { drawLife(t, uint64(seed)).live() })
		})
	}
}

// life is a cluster to which things happen.
type life struct {
	*cluster
	r       *rand.Rand
	a, z    *member // the owner's
	holders []string
	copies  int
	mesh    bool // holders reach each other
	stripes core.Erasure
	kept    []*keptVersion
	damaged map[string]bool // who lost data since all was well
	last    map[string]int  // versions by name
	began   time.Time
}

// keptVersion is a version that was split.
type keptVersion struct {
	name    string
	number  int
	data    []byte
	sees    *member // who sees to it, of the owner's two machines, or handed it over
	coord   string  // the holder that it is handed over to; empty: none
	both    bool    // they both know it
	placed  bool    // somebody was told that all copies count, or that a node goes on
	removed bool
}

func (v *keptVersion) String() string { return fmt.Sprintf("%s@%d", v.name, v.number) }

func drawLife(t *testing.T, seed uint64) *life {
	l := &life{cluster: newCluster(t), r: rand.New(rand.NewPCG(seed, 0x6c_69_66_65)), damaged: map[string]bool{},
		last: map[string]int{}, began: time.Now()}
	l.holders = []string{"b", "c", "d", "e", "f"}[:4+l.r.IntN(2)]
	l.copies = 2 + l.r.IntN(2)
	if l.r.IntN(4) == 0 {
		l.copies, l.stripes = 0, core.Erasure{K: 2, M: 1}
	}
	l.mesh = l.r.IntN(2) == 0
	l.a = l.start("a", "", l.owned, keeps)
	peers := "a-20MiB"
	for _, name := range l.holders {
		l.start(name, peers, keeps)
		if l.mesh {
			peers += "," + name + "-20MiB"
		}
	}
	peers = "a-20MiB"
	for _, name := range l.holders {
		peers += "," + name + "-20MiB"
	}
	l.z = l.start("z", peers, l.owned, keeps)
	l.say("%d holders, mesh %v, copies %d, stripes %v", len(l.holders), l.mesh, l.copies, l.stripes)
	l.settle()
	return l
}

func (l *life) say(format string, args ...any) {
	l.t.Logf("%8s  %s", time.Since(l.began).Round(time.Second), fmt.Sprintf(format, args...))
}

// tolerated is how many holders may lose what they have without anything being lost.
func (l *life) tolerated() int {
	if l.stripes.K > 0 {
		return 1
	}
	return l.copies - 1
}

func (l *life) live() {
	for range 2 + l.r.IntN(2) {
		for range 3 + l.r.IntN(5) {
			l.something()
			if l.t.Failed() {
				return
			}
		}
		l.quiet()
		if l.t.Failed() {
			return
		}
	}
	l.forgetAll()
}

// something happens.
func (l *life) something() {
	switch what := l.r.IntN(14); {
	case what < 4 || len(l.kept) == 0:
		l.place()
	case what < 6:
		l.fetchOne()
	case what == 6:
		l.removeOne()
	case what == 7:
		l.say("gc at the owner's")
		_, err := l.a.Collect(l.t.Context(), control.None{}, quiet)
		check(l.t, err)
	case what == 8:
		l.loseData()
	case what == 9:
		l.goneFor(l.holder(), l.pause(), false)
	case what == 10:
		l.goneFor(l.holder(), l.pause(), true)
	case what < 13:
		l.takeOver()
	default:
		d := l.pause()
		l.say("%s pass", d)
		time.Sleep(d)
	}
}

func (l *life) holder() *member { return l.nodes[l.holders[l.r.IntN(len(l.holders))]] }

// pause is shorter or longer than the grace.
func (l *life) pause() time.Duration {
	return []time.Duration{20 * time.Second, 3 * time.Minute, 25 * time.Minute}[l.r.IntN(3)]
}

// place makes a version and places it; at times somebody goes meanwhile.
func (l *life) place() {
	name := string("xy"[l.r.IntN(2)])
	l.last[name]++
	data := content(byte(l.r.IntN(250)), 100<<10+l.r.IntN(600<<10))
	for _, v := range l.kept {
		if v.name == name && l.r.IntN(2) == 0 {
			data = append(slices.Clone(v.data[:len(v.data)/2]), data...) // edited
			break
		}
	}
	v := &keptVersion{name: name, number: l.last[name], data: data, sees: l.a}
	l.a.split(v.name, v.number, data)
	if l.kept = append(l.kept, v); l.copies > 0 && l.mesh && l.r.IntN(3) == 0 {
		v.coord = l.holder().name
	}
	if l.r.IntN(3) == 0 {
		gone, after, slow := l.holder(), time.Duration(l.r.IntN(800))*time.Millisecond, l.r.IntN(2) == 0
		l.say("%s goes %s after a placement begins", gone.name, after)
		done := make(chan struct{})
		go func() {
			defer close(done)
			time.Sleep(after)
			l.net.Cut(gone.name)
			time.Sleep(map[bool]time.Duration{false: 15 * time.Second, true: 20 * time.Minute}[slow])
			l.net.Mend(gone.name)
		}()
		defer func() { <-done }()
	}
	l.placeAgain(v)
}

func (l *life) placeAgain(v *keptVersion) {
	args := control.PlaceArgs{Name: v.name, Version: v.number, Replicas: l.copies, Erasure: l.stripes, Strategy: "seed",
		Exclude: l.others(v.sees)}
	if v.coord != "" {
		args.Coordinator = l.nodes[v.coord].ID().String()
	}
	_, err := v.sees.Place(l.t.Context(), args, quiet)
	l.say("%s places %v (%d KiB, coordinator %q): %v", v.sees.name, v, len(v.data)>>10, v.coord, err)
	switch core.CodeOf(err) {
	case core.CodeOK:
		v.placed = true
		if s, ok := l.standingOf(v); !ok || s.Copies < s.Wanted {
			l.t.Errorf("%v is placed, and stands at %+v", v, s)
		}
	case core.CodePartial:
		v.placed = true
	case core.CodeRedundant:
		if !v.placed && strings.Contains(err.Error(), "neither on this machine") {
			l.splitAgain(v)
		}
	case core.CodeUsage:
		if v.coord == "" { // which is away just now
			l.t.Errorf("place %v: %v", v, err)
		}
	default:
		l.t.Errorf("place %v: code %d: %v", v, core.CodeOf(err), err)
	}
}

// splitAgain has a version split anew whose bytes were thought to be at peers, as the error says: the file is still there.
func (l *life) splitAgain(v *keptVersion) {
	_, err := l.a.Remove(l.t.Context(), control.RemoveArgs{Name: v.name, Version: v.number}, quiet)
	check(l.t, err)
	l.last[v.name]++
	v.number = l.last[v.name]
	l.say("split again, as %v", v)
	l.a.split(v.name, v.number, v.data)
	l.placeAgain(v)
}

// others is the owner's machine that is not this one.
func (l *life) others(m *member) []string {
	if m == l.a {
		return []string{l.z.ID().String()}
	}
	return []string{l.a.ID().String()}
}

// takeOver has the owner's other machine see to a version from now on.
func (l *life) takeOver() {
	v := l.one()
	if v == nil || !v.placed {
		return
	}
	before, coord := v.sees, v.coord
	v.coord = ""
	if v.sees = l.z; before == l.z {
		v.sees = l.a
	}
	l.placeAgain(v)
	all, err := v.sees.placed.All()
	check(l.t, err)
	if !slices.ContainsFunc(all, func(rec *placements.Record) bool {
		return !rec.IsOver() && rec.Version == v.number && rec.Coordinator.IsZero() && l.nameOf(rec) == v.name
	}) {
		v.sees, v.coord = before, coord // it came to nothing
	}
	v.both = v.both || v.sees != before
}

func (l *life) nameOf(rec *placements.Record) string {
	for _, name := range []string{"x", "y"} {
		if l.owner.Alias(name) == rec.Alias {
			return name
		}
	}
	return ""
}

func (l *life) standingOf(v *keptVersion) (s control.Standing, ok bool) {
	r, err := v.sees.Standings(l.t.Context(), control.StandingArgs{}, quiet)
	check(l.t, err)
	if v.coord != "" {
		return l.standingAt(v)
	}
	at := slices.IndexFunc(r.Placements, func(s control.Standing) bool { return s.Name == v.name && s.Version == v.number })
	if at < 0 {
		return s, false
	}
	return r.Placements[at], true
}

// standingAt is how a version stands by the record of who coordinates it.
func (l *life) standingAt(v *keptVersion) (s control.Standing, ok bool) {
	all, err := l.nodes[v.coord].placed.All()
	check(l.t, err)
	for _, rec := range all {
		if rec.Delegation != nil && !rec.IsOver() && rec.Version == v.number && l.nameOf(rec) == v.name {
			s = control.Standing{Name: v.name, Version: v.number, Wanted: rec.Copies, Copies: rec.Counting(),
				Reached: rec.Counting(), State: control.StateWell}
			return s, true
		}
	}
	return s, false
}

// alive is the versions that nobody removed.
func (l *life) alive() []*keptVersion {
	return slices.DeleteFunc(slices.Clone(l.kept), func(v *keptVersion) bool { return v.removed })
}

func (l *life) one() *keptVersion {
	all := l.alive()
	if len(all) == 0 {
		return nil
	}
	return all[l.r.IntN(len(all))]
}

// fetchOne brings a version back, whole or not at all.
func (l *life) fetchOne() {
	if v := l.one(); v != nil {
		err := l.fetched(v)
		l.say("fetch %v: %v", v, err)
	}
}

// fetched fails the test where bytes are wrong; the error says that there are none.
func (l *life) fetched(v *keptVersion) error {
	path := filepath.Join(l.t.TempDir(), "fetched")
	_, err := v.sees.Fetch(l.t.Context(), control.FetchArgs{Name: v.name, Version: v.number, Output: path}, quiet)
	got, readErr := os.ReadFile(path)
	switch {
	case err != nil && !errors.Is(readErr, os.ErrNotExist):
		l.t.Errorf("fetch %v failed and left a file: %v", v, err)
	case err == nil && !bytes.Equal(got, v.data):
		l.t.Errorf("fetch %v gave %d bytes that are not the %d that were split", v, len(got), len(v.data))
	}
	return err
}

func (l *life) removeOne() {
	v := l.one()
	if v == nil {
		return
	}
	by := v.sees
	if v.both && l.r.IntN(4) == 0 {
		by = []*member{l.a, l.z}[l.r.IntN(2)]
	}
	r, err := by.Remove(l.t.Context(), control.RemoveArgs{Name: v.name, Version: v.number}, quiet)
	l.say("%s: rm %v: %d let go, %d unheard: %v", by.name, v, len(r.Released), len(r.Unheard), err)
	check(l.t, err)
	v.removed = true
}

// loseData has a holder lose all it has, or some of it, as long as no version can be lost by that.
func (l *life) loseData() {
	m := l.holder()
	if l.damaged[m.name] || len(l.damaged) >= l.tolerated() {
		return
	}
	l.damaged[m.name] = true
	m.stop()
	if l.r.IntN(2) == 0 {
		l.say("%s is wiped", m.name)
		m.wipe()
		m.run()
		return
	}
	m.run()
	m.stop() // so that packs are finished
	m.run()
	time.Sleep(time.Second)
	l.say("%s rots: %d damaged chunks", m.name, m.rot(filepath.Join(m.dir, "holdings")))
}

// goneFor takes a holder away for some time: it is stopped, or falls silent.
func (l *life) goneFor(m *member, d time.Duration, silent bool) {
	l.say("%s is gone for %s (silent: %v)", m.name, d, silent)
	if silent {
		l.net.Silence(m.name)
		time.Sleep(d)
		l.net.Mend(m.name)
		return
	}
	m.stop()
	time.Sleep(d)
	m.run()
}

// quiet waits until all is well, and looks at everything.
func (l *life) quiet() {
	time.Sleep(3 * time.Hour) // the grace, and so many audits that every run of such files was asked for
	for _, v := range l.alive() {
		if v.coord != "" && l.damaged[v.coord] { // who has lost the record, perhaps, sees to nothing
			v.coord, v.placed = "", false
		}
		if !v.placed {
			l.placeAgain(v)
		}
		if !v.placed && !l.t.Failed() {
			l.t.Errorf("everybody is there, and %v cannot be placed", v)
		}
	}
	var bad []string
	for until := time.Now().Add(3 * time.Hour); time.Now().Before(until); time.Sleep(time.Minute) {
		bad = nil
		for _, v := range l.alive() {
			if s, ok := l.standingOf(v); !ok || s.State != control.StateWell || s.Copies < s.Wanted || s.Reached < s.Wanted {
				bad = append(bad, fmt.Sprintf("%v: %+v", v, s))
			}
		}
		if bad == nil {
			break
		}
	}
	l.say("quiet")
	for _, b := range bad {
		l.t.Errorf("it does not become well: %s", b)
	}
	for _, v := range l.alive() {
		if err := l.fetched(v); err != nil {
			l.t.Errorf("fetch %v: %v", v, err)
		}
		r, err := v.sees.Verify(l.t.Context(), control.VerifyArgs{Name: v.name, Version: v.number, Share: 1}, quiet)
		if err != nil || len(r.Damaged) > 0 {
			l.t.Errorf("verify %v: %v: damaged are %+.300v", v, err, r.Damaged)
		}
	}
	clear(l.damaged)
	l.atRest()
}

// atRest wants that nothing is leased or promised.
func (l *life) atRest() {
	time.Sleep(time.Minute)
	for _, name := range slices.Sorted(maps.Keys(l.nodes)) {
		s := l.nodes[name].status()
		if s.Reserved != 0 {
			l.t.Errorf("%s has promised %s at rest", name, s.Reserved)
		}
		for _, a := range s.Accounts {
			if a.Leased != 0 {
				l.t.Errorf("%s has leased %s of %s at rest", name, a.Leased, a.Name)
			}
		}
	}
}

// forgetAll removes everything, after which nobody keeps anything.
func (l *life) forgetAll() {
	for _, v := range l.alive() {
		_, err := v.sees.Remove(l.t.Context(), control.RemoveArgs{Name: v.name, Version: v.number}, quiet)
		check(l.t, err)
		v.removed = true
	}
	time.Sleep(20 * time.Minute)
	l.say("all is removed")
	for _, m := range []*member{l.a, l.z} {
		for _, v := range l.kept { // what the other machine removed is known here still
			_, err := m.Remove(l.t.Context(), control.RemoveArgs{Name: v.name, Version: v.number}, quiet)
			if code := core.CodeOf(err); code != core.CodeOK && code != core.CodeNoName {
				l.t.Errorf("rm %v at %s, too: %v", v, m.name, err)
			}
		}
		if left := m.listed(); len(left) > 0 {
			l.t.Errorf("all was removed, and %s lists %v", m.name, left)
		}
	}
	for _, name := range l.holders {
		if m := l.nodes[name]; !slices.ContainsFunc(m.status().Reasons, func(control.HealthReason) bool { return true }) {
			m.empty()
		}
	}
}
