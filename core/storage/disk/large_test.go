// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// largeIndex is the figures of an index, taken by a process that did nothing else.
type largeIndex struct {
	open, read time.Duration // to open the store, for writing and for reading
	hit, miss  time.Duration // of a look-up by hash that is there, and by id that is not
	rss        int           // KiB: pages of this process, those of the page cache not among them
}

// generated is an index of so many rows over packs of 400, with the hashes of some of them.
func generated(t testing.TB, rows int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	var hashes []byte
	err := disk.GenerateIndex(dir, rows, 400, func(i int, hash core.Hash) {
		if i%(rows/1000) == 0 {
			hashes = append(hashes, hash[:]...)
		}
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "some"), hashes, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// measured opens the store in dir and looks things up, in a process of its own.
func measured(t testing.TB, dir string) (m largeIndex) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "BKP_TEST_INDEX="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(out), &m.open, &m.read, &m.hit, &m.miss, &m.rss); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return m
}

// measureIndex is that process.
func measureIndex(dir string) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "some"))
	must(err)
	var m largeIndex
	began := time.Now()
	reader, err := disk.OpenRead(dir)
	must(err)
	m.read = time.Since(began)
	must(reader.Close())
	began = time.Now()
	s, err := disk.Open(dir)
	must(err)
	m.open = time.Since(began)
	n := len(raw) / 32
	began = time.Now()
	for range 10 * n {
		if i := rand.IntN(n); !has(s, core.Hash(raw[32*i:])) {
			panic("a chunk is not found")
		}
	}
	m.hit = time.Since(began) / time.Duration(10*n)
	began = time.Now()
	for i := range 10_000 {
		found(s, makePiece(i, 0).id)
	}
	m.miss = time.Since(began) / 10_000
	status, err := os.ReadFile("/proc/self/status")
	if err == nil {
		_, after, _ := strings.Cut(string(status), "VmRSS:")
		_, err = fmt.Sscan(after, &m.rss)
	}
	must(err)
	must(s.Close())
	fmt.Println(int64(m.open), int64(m.read), int64(m.hit), int64(m.miss), m.rss)
}

func TestALargeIndexOpensAtOnce(t *testing.T) {
	long(t)
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("this system does not say what a process takes")
	}
	m := measured(t, generated(t, 100_000))
	t.Logf("%+v", m)
	if m.open > 5*time.Second || m.hit > time.Millisecond || m.rss > 150<<10 {
		t.Errorf("that is far from at once: %+v", m)
	}
}

// BenchmarkLargeIndex opens an index of BKP_INDEX_ROWS rows, 10 million without: 3 GB on the disk, and a minute to make
// it.
func BenchmarkLargeIndex(b *testing.B) {
	rows := 10_000_000
	if n := os.Getenv("BKP_INDEX_ROWS"); n != "" {
		fmt.Sscan(n, &rows)
	}
	dir := generated(b, rows)
	var sum largeIndex
	n := 0
	for b.Loop() {
		m := measured(b, dir)
		sum.open, sum.read, sum.hit, sum.miss, sum.rss = sum.open+m.open, sum.read+m.read, sum.hit+m.hit,
			sum.miss+m.miss, max(sum.rss, m.rss)
		n++
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(n) / 1e6 }
	b.ReportMetric(ms(sum.open), "open-ms")
	b.ReportMetric(ms(sum.read), "open-read-ms")
	b.ReportMetric(1000*ms(sum.hit), "hit-µs")
	b.ReportMetric(1000*ms(sum.miss), "miss-µs")
	b.ReportMetric(float64(sum.rss)/1024, "RSS-MiB")
}
