// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const leastTree = 2 << 30 // bytes of real files

// makeInput makes a file and its changed version, or none, below dir; what is there already stays.
func makeInput(dir, input string) (first, second string, err error) {
	first, second = filepath.Join(dir, input+".1"), filepath.Join(dir, input+".2")
	makers := map[string]func(string, string) error{
		"tree":  makeTree,
		"image": makeImage,
		"noise": func(first, _ string) error { return makeNoise(first, int64(*gib)<<30) },
	}
	if makers[input] == nil {
		return "", "", errors.New("no such input")
	}
	if input == "noise" {
		second = ""
	}
	if _, err := os.Stat(first); err == nil {
		return first, second, nil
	}
	err = errors.Join(os.MkdirAll(dir, 0o700), makers[input](first, second))
	if err != nil {
		os.Remove(first)
	}
	return first, second, err
}

// makeTree writes a tar of real files: the Go tree, its caches and /usr, each file once; and a version of it in which
// one file of fifty has changed, one of two hundred is gone and one of two hundred is new.
func makeTree(first, second string) error {
	a, err := os.Create(first)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := os.Create(second)
	if err != nil {
		return err
	}
	defer b.Close()
	v1, v2 := tar.NewWriter(a), tar.NewWriter(b)
	random := rand.New(rand.NewPCG(1, 2))
	left := int64(leastTree + leastTree/8)
	for _, root := range []string{goEnv("GOROOT"), goEnv("GOMODCACHE"), "/usr/share", "/usr/include", "/usr/lib",
		"/usr/bin", goEnv("GOCACHE")} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			if left <= 0 {
				return filepath.SkipAll
			}
			data, err := os.ReadFile(path)
			if err != nil || len(data) > 256<<20 {
				return nil
			}
			left -= int64(len(data))
			if err := add(v1, path, data); err != nil {
				return err
			}
			switch n := random.IntN(200); {
			case n < 4 && len(data) > 0:
				at := random.IntN(len(data))
				data = append(append(append([]byte(nil), data[:at]...), "\n// changed since\n"...), data[at:]...)
			case n == 4:
				return nil
			case n == 5:
				if err := add(v2, path+".new", bytes.ToUpper(data)); err != nil {
					return err
				}
			}
			return add(v2, path, data)
		})
		if err != nil {
			return err
		}
	}
	if left > leastTree/8 {
		return errors.New("there are less than 2 GiB of files below the Go tree, its caches and /usr")
	}
	return errors.Join(v1.Close(), v2.Close())
}

func add(w *tar.Writer, path string, data []byte) error {
	err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(path, "/"), Size: int64(len(data)), Mode: 0o644})
	if err == nil {
		_, err = w.Write(data)
	}
	return err
}

func goEnv(name string) string {
	out, _ := exec.Command("go", "env", name).Output()
	return strings.TrimSpace(string(out))
}

func makeNoise(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{3}), size)
	return err
}

// makeImage writes a sparse disk image of 4 GiB, three fifths of it real files at block boundaries, and a version in
// which one byte of a hundred has changed, in 100 places.
func makeImage(first, second string) error {
	const size, extent, changes = 4 << 30, 16 << 20, 100
	tree, _, err := makeInput(filepath.Dir(first), "tree")
	if err != nil {
		return err
	}
	from, err := os.Open(tree)
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.Create(first)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(3, 4))
	block := make([]byte, extent)
	var used []int64
	for at := int64(0); at+extent <= size; at += extent {
		if random.IntN(5) >= 3 {
			continue
		}
		n, err := io.ReadFull(from, block[:extent-4096*random.IntN(512)])
		if err != nil {
			break
		}
		if _, err := f.WriteAt(block[:n], at); err != nil {
			return err
		}
		used = append(used, at)
	}
	if _, err := f.WriteAt(bootRecord(), 0); err != nil {
		return err
	}
	if out, err := exec.Command("cp", "--sparse=always", first, second).CombinedOutput(); err != nil {
		return errors.New(string(out))
	}
	g, err := os.OpenFile(second, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer g.Close()
	change := make([]byte, size/100/changes)
	noise := rand.NewChaCha8([32]byte{5})
	for range changes {
		noise.Read(change)
		at := used[random.IntN(len(used))] + random.Int64N(extent/2)
		if _, err := g.WriteAt(change, at); err != nil {
			return err
		}
	}
	return nil
}

// bootRecord is a partition table with one entry.
func bootRecord() []byte {
	b := make([]byte, 512)
	e := b[446:]
	e[0], e[4] = 0x80, 0x83
	binary.LittleEndian.PutUint32(e[8:], 2048)
	binary.LittleEndian.PutUint32(e[12:], 8<<20-2048)
	b[510], b[511] = 0x55, 0xaa
	return b
}
