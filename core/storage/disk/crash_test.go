// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("BKP_TEST_WRITER"); dir != "" {
		writeUntilKilled(dir)
	}
	if dir := os.Getenv("BKP_TEST_INDEX"); dir != "" {
		measureIndex(dir)
		return
	}
	flag.Set("rapid.checks", "20") // every check syncs a few dozen times; a flag on the command line overrules this
	os.Exit(m.Run())
}

// writeUntilKilled puts pieces from several goroutines and says after each barrier how many are acknowledged.
func writeUntilKilled(dir string) {
	s, err := disk.Open(dir)
	if err != nil {
		panic(err)
	}
	s.SetPackSize(2 << 20)
	const batch = 40
	for first := 0; ; first += batch {
		errs := make(chan error, batch)
		for n := first; n < first+batch; n++ {
			go func() {
				p := killedPiece(n)
				_, err := s.Put(bg, p.Chunk, p.id, p.data)
				errs <- err
			}()
		}
		for range batch {
			if err := <-errs; err != nil {
				panic(err)
			}
		}
		if err := s.Barrier(bg); err != nil {
			panic(err)
		}
		fmt.Println(first + batch)
	}
}

func killedPiece(n int) piece { return makePiece(n, 1000+n%7*30_000) }

func TestKilledWriterLosesNothingAcknowledged(t *testing.T) {
	dir, acknowledged := t.TempDir(), 0
	for range 5 {
		acknowledged = max(acknowledged, runAndKill(t, dir, time.Duration(rand.IntN(150))*time.Millisecond))
		s := open(t, dir)
		for n := range acknowledged {
			wantPiece(t, s, killedPiece(n))
		}
		closeStore(t, s)
		if left := packFiles(t, dir, ".open"); len(left) > 0 {
			t.Fatalf("left behind: %v", left)
		}
	}
	if acknowledged == 0 {
		t.Fatal("no writer came to its first barrier")
	}
	t.Logf("%d chunks acknowledged", acknowledged)
}

// runAndKill lets a process write for a while after its first barrier, kills it, and returns what it acknowledged.
func runAndKill(t *testing.T, dir string, after time.Duration) (acknowledged int) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "BKP_TEST_WRITER="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var timer *time.Timer
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if timer == nil {
			timer = time.AfterFunc(after, func() { cmd.Process.Kill() })
		}
		if n, err := strconv.Atoi(lines.Text()); err == nil {
			acknowledged = n
		}
	}
	cmd.Wait()
	return acknowledged
}

// Whatever length the last pack has after a crash, what stands whole in it is there and what does not is not.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	pieces := makePieces(4, 300)
	for _, p := range pieces {
		put(t, s, p)
	}
	barrier(t, s)
	whole := afterCrash(t, dir)
	closeStore(t, s)
	const header, record = 16, 80
	size := header + 4*record + 300 + 301 + 302 + 303
	for length := 0; length <= size; length += 31 {
		torn := afterCrash(t, whole)
		pack := packFiles(t, torn, ".open")[0]
		if err := os.Truncate(pack, int64(length)); err != nil {
			t.Fatal(err)
		}
		s := open(t, torn)
		end := header
		for i, p := range pieces {
			end += record + len(p.data)
			if has(s, p.Hash) != (end <= length) {
				t.Fatalf("%d bytes: piece %d, which ends at %d: has is %v", length, i, end, has(s, p.Hash))
			}
		}
		put(t, s, pieces[3])
		wantPiece(t, s, pieces[3])
		closeStore(t, s)
	}
}

// A record that was given room and never written, or whose data the disk lost, must not hide the ones behind it.
func TestHoleInAPack(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	pieces := makePieces(3, 300)
	for _, p := range pieces {
		put(t, s, p)
	}
	barrier(t, s)
	whole := afterCrash(t, dir)
	closeStore(t, s)
	const header, record = 16, 80
	second := int64(header + record + 300)
	for name, hole := range map[string]struct {
		from   int64
		length int
	}{
		"never written": {second, record + 301},
		"header lost":   {second, record},
		"data lost":     {second + record, 301},
	} {
		t.Run(name, func(t *testing.T) {
			crashed := afterCrash(t, whole)
			overwrite(t, packFiles(t, crashed, ".open")[0], hole.from, make([]byte, hole.length))
			s := open(t, crashed)
			defer closeStore(t, s)
			wantPiece(t, s, pieces[0])
			wantPiece(t, s, pieces[2])
			if has(s, pieces[1].Hash) {
				t.Error("has the chunk that is not whole")
			}
			if _, ok := found(s, pieces[2].id); ok {
				t.Error("trusts an id behind a damaged stretch")
			}
		})
	}
}

func overwrite(t *testing.T, path string, offset int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, offset); err != nil {
		t.Fatal(err)
	}
}

func flipBit(t *testing.T, path string, offset int64) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if offset < 0 {
		offset += int64(len(raw))
	}
	overwrite(t, path, offset, []byte{raw[offset] ^ 4})
}

// finishedStore is a store with one finished pack.
func finishedStore(t *testing.T, pieces []piece) (dir, pack string) {
	dir = t.TempDir()
	s := open(t, dir)
	for _, p := range pieces {
		put(t, s, p)
	}
	closeStore(t, s)
	return dir, packFiles(t, dir, ".pack")[0]
}

func TestDamagedTableIsRebuilt(t *testing.T) {
	pieces := makePieces(5, 300)
	for name, damage := range map[string]func(path string){
		"bit in its rows":   func(path string) { flipBit(t, path, -200) },
		"bit in its footer": func(path string) { flipBit(t, path, -40) },
		"bit in its hash":   func(path string) { flipBit(t, path, -1) },
		"cut off":           func(path string) { os.Truncate(path, 16+5*380+10+100) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, pack := finishedStore(t, pieces)
			healthy, err := os.ReadFile(pack)
			if err != nil {
				t.Fatal(err)
			}
			damage(pack)
			damaged, _ := os.ReadFile(pack)
			reader, err := disk.OpenRead(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range pieces {
				wantPiece(t, reader, p)
			}
			closeStore(t, reader)
			if after, _ := os.ReadFile(pack); string(after) != string(damaged) {
				t.Fatal("a reader changed the pack")
			}
			s := open(t, dir)
			for _, p := range pieces {
				wantPiece(t, s, p)
			}
			closeStore(t, s)
			if after, _ := os.ReadFile(pack); string(after) != string(healthy) {
				t.Error("the table was not rebuilt")
			}
		})
	}
}

// Bad input 26: bytes that are not what their hash says are refused with code 14, whichever bit is wrong.
func TestDamagedDataIsRefused(t *testing.T) {
	pieces := makePieces(3, 300)
	for offset := int64(16 + 380); offset < 16+380+381; offset += 11 {
		dir, pack := finishedStore(t, pieces)
		flipBit(t, pack, offset)
		s := open(t, dir)
		if _, err := s.Get(bg, pieces[1].Hash, nil); core.CodeOf(err) != core.CodeWrong {
			t.Fatalf("bit at %d: %v", offset, err)
		}
		wantPiece(t, s, pieces[0])
		wantPiece(t, s, pieces[2])
		closeStore(t, s)
	}
}

func TestAPackOfALaterVersionIsLeftAlone(t *testing.T) {
	dir, pack := finishedStore(t, makePieces(2, 300))
	overwrite(t, pack, 8, []byte{2})
	flipBit(t, pack, -1)
	before, _ := os.ReadFile(pack)
	if _, err := disk.Open(dir); err == nil {
		t.Error("opened")
	}
	if after, _ := os.ReadFile(pack); string(after) != string(before) {
		t.Error("changed")
	}
}
