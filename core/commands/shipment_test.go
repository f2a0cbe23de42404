// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/repair"
)

// mailed is an owner a with a version that is on a disk for node b, and a node c beside them. Nothing of it travelled.
type mailed struct {
	*cluster
	a, b, c *member
	disk    string
	data    []byte
	out     control.Exported
}

func newMailed(t *testing.T, setup ...func(*commands.Config)) *mailed {
	m := &mailed{cluster: newCluster(t), disk: t.TempDir(), data: content(1, 4<<20)}
	m.a = m.start("a", "", append(setup, m.owned, m.remembers())...)
	m.b = m.start("b", "a-1MiB", m.remembers())
	m.c = m.start("c", "a-1MiB,b-1MiB", m.remembers())
	m.a.split("disk.img", 1, m.data)
	m.settle()
	m.out = m.export()
	return m
}

func (m *mailed) args() control.PlaceArgs {
	return control.PlaceArgs{Name: "disk.img", Replicas: 2, Export: m.disk, Only: []string{m.b.signer.ID().String()},
		Strategy: "seed"}
}

func (m *mailed) export() control.Exported {
	m.t.Helper()
	return *m.a.place(m.args()).OnDisk
}

func (m *mailed) importAt(n *member) control.ImportResult {
	m.t.Helper()
	r, err := n.Import(m.t.Context(), control.ImportArgs{Folder: m.disk}, quiet)
	check(m.t, err)
	return r
}

// runs is the files of runs on the disk.
func (m *mailed) runs() (paths []string) {
	m.t.Helper()
	check(m.t, filepath.WalkDir(m.out.Folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.HasSuffix(path, ".list") {
			paths = append(paths, path)
		}
		return err
	}))
	return paths
}

// TestFirstCopyByDisk: what was carried to a node is not sent there, and counts once it was placed. Until then nothing
// of it is sent unasked, and nobody was told.
func TestFirstCopyByDisk(t *testing.T) {
	virtual(t, func(t *testing.T) {
		m := newMailed(t, func(conf *commands.Config) {
			conf.Repair = &repair.Config{Grace: time.Minute, AuditEvery: time.Hour}
		})
		n := core.Size(len(m.data))
		if m.out.Bytes < n || m.out.Written != m.out.Bytes || m.out.Rest != 0 || m.out.Kept != 0 {
			t.Errorf("of %s there are %+v", n, m.out)
		}
		check(t, filepath.WalkDir(m.disk, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			for at := 0; at < len(m.data); at += 8 << 10 { // the least chunk has half of that
				if bytes.Contains(data, m.data[at:at+32]) || bytes.Contains(data, []byte("disk.img")) {
					t.Fatalf("%s shows what byte %d on is, or the name", path, at)
				}
			}
			return err
		}))
		time.Sleep(5 * time.Minute) // the keeper looked many times
		if strings.Contains(m.a.trace.String(), "STORAGE_TASK") {
			t.Error("somebody was told of it")
		}
		standing, err := m.a.Standings(t.Context(), control.StandingArgs{}, quiet)
		check(t, err)
		if p := standing.Placements; len(p) != 1 || p[0].State != control.StateShipment || p[0].Copies != 0 ||
			p[0].Wanted != 2 {
			t.Errorf("it stands as %+v", p)
		}
		_, err = m.a.Place(t.Context(), control.PlaceArgs{Replicas: 2, Strategy: "seed"}, quiet)
		if core.CodeOf(err) != core.CodeNoName {
			t.Errorf("placed without being named: %v", err)
		}
		if left := time.Until(time.Unix(m.out.Expires, 0)); left < 89*24*time.Hour || left > 90*24*time.Hour {
			t.Errorf("it may travel for %s", left)
		}
		if again := m.export(); again.Written != 0 || again.Bytes != m.out.Bytes || again.Expires <= m.out.Expires {
			t.Errorf("once more: %+v", again)
		}

		got := m.importAt(m.b)
		if p := got.Shipments; len(p) != 1 || p[0].Bytes != m.out.Bytes || p[0].Code != core.CodeOK ||
			len(p[0].Problems) != 0 {
			t.Fatalf("took %+v", got)
		}
		again := m.importAt(m.b)
		if p := again.Shipments[0]; p.Bytes != 0 || p.Had != m.out.Bytes || p.Code != core.CodeOK {
			t.Errorf("took once more %+v", again)
		}
		if standing, err := m.b.ledger.Standing(); err != nil || len(standing.Segments) != 1 {
			t.Errorf("receipts in the ledger: %+v, %v", standing, err)
		}
		m.b.stop()
		m.b.run() // its receipts are not delivered from memory
		m.settle()

		one := m.a.place(control.PlaceArgs{Name: "disk.img", Replicas: 1, Only: []string{m.b.signer.ID().String()}})
		if one.SentBytes != 0 || strings.Contains(m.a.trace.String(), "STORAGE_APPLY") ||
			sum(one.Placements) != m.out.Bytes {
			t.Errorf("placed with %s sent of %s", one.SentBytes, sum(one.Placements))
		}
		two := m.a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		if two.SentBytes != m.out.Bytes {
			t.Errorf("the second copy took %s", two.SentBytes)
		}
		standing, err = m.a.Standings(t.Context(), control.StandingArgs{}, quiet)
		check(t, err)
		if p := standing.Placements; len(p) != 1 || p[0].State != control.StateWell || p[0].Copies != 2 {
			t.Errorf("it stands as %+v", p)
		}
		if out := m.export(); out.Bytes != 0 || out.Folder != "" {
			t.Errorf("nothing is to travel any more, and %+v does", out)
		}
		standing, err = m.a.Standings(t.Context(), control.StandingArgs{}, quiet)
		if standing.Placements[0].State != control.StateWell {
			t.Errorf("then it stands as %+v, %v", standing, err)
		}
		m.fetchAt("z", "b-50MiB,c-50MiB")
	})
}

func (m *mailed) fetchAt(name, peers string) {
	m.t.Helper()
	z := m.start(name, peers, m.owned)
	m.settle()
	z.fetch("disk.img", 0, m.data)
}

// keepsNothing wants that a node took no room for what it refused.
func keepsNothing(t *testing.T, n *member) {
	t.Helper()
	if s := n.status(); s.Used != 0 || s.Reserved != 0 {
		t.Errorf("%s are kept, %s promised", s.Used, s.Reserved)
	}
}

// TestDiskThatIsWrong: what has other bytes, another length, or is no file is named; the rest is taken, and what is
// lacking alone is sent.
func TestDiskThatIsWrong(t *testing.T) {
	virtual(t, func(t *testing.T) {
		m := newMailed(t)
		runs := m.runs()
		flip := func(path string, at int64) {
			data, err := os.ReadFile(path)
			check(t, err)
			data[at] ^= 1
			check(t, os.WriteFile(path, data, 0o600))
		}
		flip(runs[0], 0)
		flip(runs[1], 5000)
		check(t, os.Truncate(runs[2], 10))
		check(t, os.Remove(runs[3]))
		check(t, os.Symlink("/dev/zero", runs[3]))
		check(t, os.Remove(runs[4]))
		check(t, os.Mkdir(runs[4], 0o700))
		check(t, os.Remove(runs[5])) // is only missing
		check(t, os.Remove(runs[6]))
		check(t, syscall.Mkfifo(runs[6], 0o600)) // nobody writes into it
		var lacks core.Size
		for i := range 7 {
			lacks += m.sizeOf(runs[i])
		}
		p := m.importAt(m.b).Shipments[0]
		if p.Code != core.CodeWrong || p.Wrong+p.Missing != lacks || p.Missing != m.sizeOf(runs[5]) ||
			p.Bytes != m.out.Bytes-lacks {
			t.Errorf("took %+v; %s are wrong or missing", p, lacks)
		}
		var named []string
		for _, x := range p.Problems {
			named = append(named, filepath.Join(m.out.Folder, x.File))
		}
		slices.Sort(named)
		if want := slices.Sorted(slices.Values(append(slices.Clone(runs[:5]), runs[6]))); !slices.Equal(named, want) {
			t.Errorf("named %q, want %q", named, want)
		}
		placed := m.a.place(control.PlaceArgs{Name: "disk.img", Replicas: 1, Only: []string{m.b.signer.ID().String()}})
		if placed.SentBytes != lacks {
			t.Errorf("sent %s, want %s", placed.SentBytes, lacks)
		}
		m.fetchAt("z", "b-50MiB")
	})
}

// sizeOf is how much a run has, by the list: the file may be another by now.
func (m *mailed) sizeOf(path string) core.Size {
	records, err := m.a.placed.All()
	check(m.t, err)
	segments, err := records[0].Segments(func(core.ID) bool { return true })
	check(m.t, err)
	for number, s := range segments {
		for run, r := range s.Runs {
			if path == filepath.Join(m.out.Folder, strconv.Itoa(number), strconv.Itoa(run)) {
				return r.Size
			}
		}
	}
	m.t.Fatalf("%s is no run", path)
	return 0
}

// TestListThatIsWrong: a list that was changed is refused as a whole, and nothing is kept.
func TestListThatIsWrong(t *testing.T) {
	virtual(t, func(t *testing.T) {
		m := newMailed(t)
		list := filepath.Join(m.out.Folder, "0.list")
		data, err := os.ReadFile(list)
		check(t, err)
		for _, change := range [][]byte{nil, data[:100], append(bytes.Clone(data), 0), flipped(data, len(data)/2),
			flipped(data, len(data)-1)} {
			check(t, os.WriteFile(list, change, 0o600))
			p := m.importAt(m.b).Shipments[0]
			if p.Code != core.CodeWrong || p.Segments != 0 || p.Bytes != 0 ||
				len(m.b.Kept().Accepted(m.owner.ID(), p.Task)) != 0 {
				t.Errorf("took %+v", p)
			}
		}
	})
}

func flipped(data []byte, at int) []byte {
	data = bytes.Clone(data)
	data[at] ^= 1
	return data
}

// TestDiskForAnother: a disk is for one node, whatever its folder is called.
func TestDiskForAnother(t *testing.T) {
	virtual(t, func(t *testing.T) {
		m := newMailed(t)
		_, err := m.c.Import(t.Context(), control.ImportArgs{Folder: m.disk}, quiet)
		if core.CodeOf(err) != core.CodeRefused || !strings.Contains(err.Error(), m.b.signer.ID().String()) {
			t.Errorf("imported at another node: %v", err)
		}
		name := strings.Replace(m.out.Folder, m.b.signer.ID().String(), m.c.signer.ID().String(), 1)
		check(t, os.Rename(m.out.Folder, name))
		if p := m.importAt(m.c).Shipments[0]; p.Code != core.CodeWrong || p.Segments != 0 {
			t.Errorf("imported under another name: %+v", p)
		}
		keepsNothing(t, m.c)
		_, err = m.c.Import(t.Context(), control.ImportArgs{Folder: t.TempDir()}, quiet)
		if core.CodeOf(err) != core.CodeNoName {
			t.Errorf("imported nothing: %v", err)
		}
	})
}

// TestDiskThatCameLate: a licence that has expired is refused, and exporting once more renews it: no run is written
// again.
func TestDiskThatCameLate(t *testing.T) {
	virtual(t, func(t *testing.T) {
		m := newMailed(t)
		all := []*member{m.a, m.b, m.c}
		for _, n := range all {
			n.stop()
		}
		time.Sleep(91 * 24 * time.Hour)
		for _, n := range all {
			n.run()
		}
		m.settle()
		p := m.importAt(m.b).Shipments[0]
		if p.Code != core.CodeRefused || p.Segments != 0 || !strings.Contains(p.Problems[0].Text, "licence expired") {
			t.Errorf("took %+v", p)
		}
		if out := m.export(); out.Written != 0 {
			t.Errorf("wrote %s again", out.Written)
		}
		if p := m.importAt(m.b).Shipments[0]; p.Code != core.CodeOK || p.Bytes != m.out.Bytes {
			t.Errorf("took %+v", p)
		}
	})
}

// TestDiskBeyondTheQuota: as where the source sends it.
func TestDiskBeyondTheQuota(t *testing.T) {
	virtual(t, func(t *testing.T) {
		m := newMailed(t)
		m.b.stop()
		setup := m.b.setup
		m.b.setup = func(conf *commands.Config) {
			setup(conf)
			conf.Issuers = map[core.ID]core.Size{m.owner.ID(): 1 * core.MiB}
		}
		m.b.run()
		p := m.importAt(m.b).Shipments[0]
		if p.Code != core.CodeRefused || p.Segments != 0 || p.Bytes != 0 ||
			!strings.Contains(p.Problems[0].Text, "quota") {
			t.Errorf("took %+v", p)
		}
		keepsNothing(t, m.b)
	})
}

// TestExportThatWasStopped: what is whole on the disk is not written again, and what is not is.
func TestExportThatWasStopped(t *testing.T) {
	virtual(t, func(t *testing.T) {
		m := newMailed(t)
		runs := m.runs()
		check(t, os.Remove(runs[0]))
		check(t, os.Truncate(runs[1], 100))
		check(t, os.WriteFile(runs[0]+".new", []byte("begun"), 0o600))
		out := m.export()
		if want := m.sizeOf(runs[0]) + m.sizeOf(runs[1]); out.Written != want || out.Bytes != m.out.Bytes {
			t.Errorf("wrote %+v, want %s anew", out, want)
		}
		if p := m.importAt(m.b).Shipments[0]; p.Code != core.CodeOK || p.Bytes != m.out.Bytes {
			t.Errorf("took %+v", p)
		}
	})
}

// TestImportThatWasStopped goes on where it was.
func TestImportThatWasStopped(t *testing.T) {
	virtual(t, func(t *testing.T) {
		m := newMailed(t)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := m.b.Import(ctx, control.ImportArgs{Folder: m.disk}, func(s control.Status) {
			if s.Done > 0 {
				cancel()
			}
		})
		if err == nil {
			t.Fatal("it was not stopped")
		}
		m.b.stop()
		m.b.run()
		p := m.importAt(m.b).Shipments[0]
		if p.Code != core.CodeOK || p.Had == 0 || p.Had+p.Bytes != m.out.Bytes {
			t.Errorf("took %+v", p)
		}
	})
}

// TestDiskWithTheSecondVersion: what the node keeps of the first is not written.
func TestDiskWithTheSecondVersion(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		m := newMailed(t)
		m.importAt(m.b)
		m.a.place(control.PlaceArgs{Name: "disk.img", Replicas: 1, Only: []string{m.b.signer.ID().String()}})
		m.data = append(m.data, content(2, 1<<20)...)
		m.a.split("disk.img", 2, m.data)
		m.disk = t.TempDir()
		out := m.export()
		if out.Bytes < 1*core.MiB || out.Bytes > 2*core.MiB || out.Kept < 3*core.MiB || out.Rest != 0 {
			t.Errorf("wrote %+v", out)
		}
		if p := m.importAt(m.b).Shipments[0]; p.Code != core.CodeOK || p.Bytes != out.Bytes || p.Had != out.Kept {
			t.Errorf("took %+v of %+v", p, out)
		}
		placed := m.a.place(control.PlaceArgs{Name: "disk.img", Replicas: 1, Only: []string{m.b.signer.ID().String()}})
		if placed.SentBytes != 0 || strings.Contains(m.a.trace.String(), "STORAGE_APPLY") {
			t.Errorf("sent %s", placed.SentBytes)
		}
		m.fetchAt("z", "b-50MiB")

		m.a.split("disk.img", 3, m.data)
		if out := m.export(); out.Folder != "" {
			t.Errorf("nothing is new, and %+v is to travel", out)
		}
		r, err := m.a.Standings(t.Context(), control.StandingArgs{Version: 3}, quiet)
		if err != nil || len(r.Placements) > 0 {
			t.Errorf("and stands as %+v, %v", r, err)
		}
	})
}

// TestOnlyAFirstCopyTravels: a version that is kept as stripes goes on so; and what is no disk for one node is refused.
func TestOnlyAFirstCopyTravels(t *testing.T) {
	virtual(t, func(t *testing.T) {
		m := newMailed(t)
		m.start("d", "a-1MiB,b-1MiB,c-1MiB")
		m.a.split("other.img", 1, content(3, 1<<20))
		m.settle()
		m.a.place(control.PlaceArgs{Name: "other.img", Erasure: core.Erasure{K: 2, M: 1}})
		args := m.args()
		args.Name = "other.img"
		_, err := m.a.Place(t.Context(), args, quiet)
		if core.CodeOf(err) != core.CodeUsage || !strings.Contains(err.Error(), "kept in another way already") {
			t.Errorf("stripes and a disk: %v", err)
		}
		if records, err := m.a.placed.All(); err != nil || len(records) != 2 {
			t.Errorf("%d records, %v", len(records), err)
		}
		for what, change := range map[string]func(*control.PlaceArgs){
			"two nodes":       func(a *control.PlaceArgs) { a.Only = append(a.Only, m.c.signer.ID().String()) },
			"stripes":         func(a *control.PlaceArgs) { a.Erasure = core.Erasure{K: 2, M: 1} },
			"a dry run":       func(a *control.PlaceArgs) { a.DryRun = true },
			"a coordinator":   func(a *control.PlaceArgs) { a.Coordinator = "c:8001" },
			"a relative path": func(a *control.PlaceArgs) { a.Export = "disk" },
			"no directory":    func(a *control.PlaceArgs) { a.Export += "/none" },
		} {
			args := m.args()
			change(&args)
			if _, err := m.a.Place(t.Context(), args, quiet); core.CodeOf(err) != core.CodeUsage {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// TestSecondCopyByDisk: what is kept already is seen to as before, while the second copy travels.
func TestSecondCopyByDisk(t *testing.T) {
	virtual(t, func(t *testing.T) {
		m := &mailed{cluster: newCluster(t), disk: t.TempDir(), data: content(1, 4<<20)}
		m.a = m.start("a", "", m.owned)
		m.b = m.start("b", "a-1MiB")
		m.c = m.start("c", "a-1MiB,b-1MiB")
		m.a.split("disk.img", 1, m.data)
		m.settle()
		first := m.a.place(control.PlaceArgs{Name: "disk.img", Replicas: 1, KeepLocal: true,
			Only: []string{m.c.signer.ID().String()}})
		if m.out = m.export(); m.out.Bytes != first.Bytes || m.out.Kept != 0 || m.out.Rest != 0 {
			t.Errorf("of %s there are %+v", first.Bytes, m.out)
		}
		standing, err := m.a.Standings(t.Context(), control.StandingArgs{}, quiet)
		check(t, err)
		if p := standing.Placements; len(p) != 1 || p[0].State != control.StateWell || p[0].Copies != 1 || p[0].Wanted != 1 {
			t.Errorf("meanwhile it stands as %+v", p)
		}
		if p := m.importAt(m.b).Shipments[0]; p.Code != core.CodeOK || p.Bytes != first.Bytes {
			t.Errorf("took %+v", p)
		}
		both := m.a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		if both.SentBytes != 0 || sum(both.Placements) != 2*first.Bytes {
			t.Errorf("sent %s of %s", both.SentBytes, sum(both.Placements))
		}
		if standing, err = m.a.Standings(t.Context(), control.StandingArgs{}, quiet); standing.Placements[0].Copies != 2 {
			t.Errorf("then it stands as %+v, %v", standing, err)
		}
	})
}

// A version is removed while a disk with it is under way, and the node that it is for is away: once another node has told
// that one what the owner took back, it takes nothing of the disk. Who only exports again takes nothing back.
func TestDiskOfARemovedVersion(t *testing.T) {
	virtual(t, func(t *testing.T) {
		m := newMailed(t)
		if list := m.a.Revoked.Of(m.owner.ID()); list.Sequence != 0 {
			t.Errorf("revoked before: %+v", list)
		}
		m.b.stop()
		r, err := m.a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img"}, quiet)
		if len(r.Versions) != 1 || len(r.Unheard) != 1 {
			t.Fatalf("removed %+v, %v", r, err)
		}
		m.settle()
		m.a.stop()
		m.b.run()
		m.settle()
		p := m.importAt(m.b).Shipments[0]
		if p.Code != core.CodeRefused || p.Segments != 0 || !strings.Contains(p.Problems[0].Text, "has revoked licence") {
			t.Errorf("took %+v", p)
		}
		keepsNothing(t, m.b)
	})
}
