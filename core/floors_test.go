// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/bkp-tool/bkp/"

// floors says which rooms each room may import. A room that is not listed must not exist.
var floors = func() map[string][]string {
	one := []string{"core/key", "core/chunk", "core/manifest", "core/plan", "core/account", "core/license", "core/wire",
		"core/shard", "core/audit", "core/measure", "core/invite"}
	nouns := []string{"core"}
	two := join(nouns, one)
	three := join(two, []string{"core/task", "core/spread", "core/reconcile", "core/version"})
	rooms := map[string][]string{
		"core":      nil,
		"core/task": two, "core/spread": join(two, []string{"core/task"}), "core/version": two,
		"core/reconcile": two,
		"core/sim":       three, "core/durable": three, "core/storage": join(three, []string{"core/durable"}),
		"core/link": three, "core/flow": three, "core/health": two, "core/gossip": join(two, []string{"core/health"}), "core/ledger": join(three, []string{"core/durable"}),
		"core/shipment":   join(two, []string{"core/version"}),
		"core/file":       join(three, []string{"core/durable"}),
		"core/fetch":      join(three, []string{"core/flow"}),
		"core/control":    {"core", "core/plan"},
		"core/keep":       join(three, []string{"core/storage", "core/flow"}),
		"core/repair":     join(three, []string{"core/placements"}),
		"core/transfer":   join(three, []string{"core/flow", "core/placements"}),
		"core/staging":    join(three, []string{"core/storage"}),
		"core/placements": join(three, []string{"core/durable"}),
		"core/place":      join(three, []string{"core/storage", "core/placements"}),
		"core/node": join(three, []string{"core/storage", "core/link", "core/flow", "core/gossip", "core/health",
			"core/keep", "core/place", "core/placements", "core/fetch", "core/transfer"}),
		"core/commands": join(three, []string{"core/storage", "core/link", "core/control", "core/keep", "core/node",
			"core/place", "core/placements", "core/repair", "core/fetch", "core/file", "core/staging",
			"core/durable", "core/shipment"}),

		"plugins":            {"core", "core/durable", "plugins/contract", "plugins/proto"},
		"plugins/contract":   {"core", "plugins/proto"},
		"plugins/proto":      nil,
		"plugins/python":     nil,
		"plugins/ruby":       nil,
		"plugins/serve":      {"core", "plugins/contract", "plugins/proto"},
		"plugins/strategies": {"core", "plugins/serve"},
		"plugins/notifiers":  {"core", "plugins/serve"},
		"plugins/verifiers":  {"core", "plugins/serve", "core/license", "core/ledger"},
		"plugins/engines":    {"core", "plugins/serve", "plugins/contract", "core/license", "core/ledger"},

		"scripts/compare":    nil,
		"scripts/exhaustive": nil,
		"scripts/inject":     nil,
		"scripts/mutants":    nil,
		"scripts/netlab":     {"core", "core/plan"},
	}
	for _, r := range one {
		rooms[r] = nouns
	}
	return rooms
}()

// groups are the rooms of commands that stand in a group: none of them knows another.
var groups = []string{"cmd/bkp/command/help", "cmd/bkp/command/job", "cmd/bkp/command/key", "cmd/bkp/command/ledger",
	"cmd/bkp/command/license", "cmd/bkp/command/node", "cmd/bkp/command/peers", "cmd/bkp/command/plugin"}

// ofCommands is what every room of commands may import.
var ofCommands = []string{"cmd/bkp/command", "cmd/bkp/datadir", "cmd/bkp/datadir/heard", "cmd/bkp/line",
	"cmd/bkp/render", "cmd/bkp/session"}

// roof says which rooms of the roof each of them may import. What lies below the roof they may all import.
var roof = map[string][]string{
	"cmd/bkp": join(groups, []string{"cmd/bkp/command", "cmd/bkp/datadir", "cmd/bkp/input", "cmd/bkp/line",
		"cmd/bkp/render", "cmd/bkp/retain", "cmd/bkp/session", "cmd/bkp/volume/nbd", "cmd/bkp/web"}),
	"cmd/bkp/command":         {"cmd/bkp/datadir", "cmd/bkp/line", "cmd/bkp/owner", "cmd/bkp/render", "cmd/bkp/session"},
	"cmd/bkp/command/help":    join(ofCommands, []string{"cmd/bkp/owner"}),
	"cmd/bkp/command/job":     join(ofCommands, []string{"cmd/bkp/job"}),
	"cmd/bkp/command/key":     ofCommands,
	"cmd/bkp/command/ledger":  ofCommands,
	"cmd/bkp/command/license": ofCommands,
	"cmd/bkp/command/node":    join(ofCommands, []string{"cmd/bkp/datadir/mend"}),
	"cmd/bkp/command/peers":   ofCommands,
	"cmd/bkp/command/plugin":  join(ofCommands, []string{"cmd/bkp/scaffold"}),
	"cmd/bkp/datadir":         nil,
	"cmd/bkp/datadir/heard":   {"cmd/bkp/datadir"},
	"cmd/bkp/datadir/mend":    {"cmd/bkp/datadir"},
	"cmd/bkp/input":           nil,
	"cmd/bkp/job":             nil,
	"cmd/bkp/line":            {"cmd/bkp/job", "cmd/bkp/render"},
	"cmd/bkp/owner":           {"cmd/bkp/datadir", "cmd/bkp/line", "cmd/bkp/render"},
	"cmd/bkp/render":          nil,
	"cmd/bkp/retain":          nil,
	"cmd/bkp/scaffold":        nil,
	"cmd/bkp/volume":          {"cmd/bkp/volume/nbd", "cmd/bkp/volume/overlay"},
	"cmd/bkp/volume/nbd":      nil,
	"cmd/bkp/volume/overlay":  nil,
	"cmd/bkp/metrics":         nil,
	"cmd/bkp/web":             nil,
	"cmd/bkp/session": {"cmd/bkp/datadir", "cmd/bkp/datadir/heard", "cmd/bkp/job", "cmd/bkp/line",
		"cmd/bkp/metrics", "cmd/bkp/render", "cmd/bkp/volume"},
}

// within says which other packages of its room each package below a room may import: by their names below storage/disk,
// durable, keep, place or plan, which join them all and are "" themselves. Nobody else in storage but holdings, which
// looks for descriptions, and s3, whose packs are objects, knows any of disk.
var within = map[string][]string{
	"core/durable/internal/tap": nil,
	"core/keep/handed":          {""},
	"core/keep/lost":            nil,
	"core/keep/serve":           nil,
	"core/place/booking":        nil,
	"core/place/content":        nil,
	"core/place/delivery":       nil,
	"core/place/proof":          {"delivery"},
	"core/place/stripes":        nil,
	"core/place/survey":         nil,
	"core/plan/fluid":           nil,
	"core/plan/saved":           {"", "fluid"},
	"core/plan/wrap":            nil,
	"core/storage/disk/space":   nil,
	"core/storage/disk/files":   nil,
	"core/storage/disk/writers": nil,
	"core/storage/disk/damage":  nil,
	"core/storage/disk/pack":    {"space"},
	"core/storage/disk/table":   {"pack"},
	"core/storage/disk/index":   {"pack", "table", "files", "damage"},
	"core/storage/disk/collect": {"pack", "writers"},
	"core/storage/disk/check":   {"pack", "table", "index", "writers", "damage"},
	"core/storage/holdings":     {"", "pack"},
	"core/storage/s3":           {"", "pack", "writers", "check"},
	"core/storage/live":         nil,
	"core/storage":              nil,
}

// pure rooms decide; they neither act nor look at the world.
var pure = []string{"core", "core/key", "core/chunk", "core/manifest", "core/plan", "core/account", "core/license",
	"core/wire", "core/shard", "core/audit", "core/measure", "core/invite", "core/task", "core/spread", "core/reconcile", "core/version",
	"core/shipment", "core/sim"}

// pureFiles decide, in rooms that act on what they say.
var pureFiles = []string{"core/placements/standing.go", "core/placements/known.go", "core/repair/turn.go"}

// purePackages decide, in a room that acts on what they say.
var purePackages = []string{"core/place/content", "core/place/delivery", "core/place/survey"}

// worldly packages read a clock, a disk, a network or the system's randomness.
var worldly = []string{"os", "net", "net/http", "syscall", "crypto/rand", "math/rand", "os/exec", "os/signal",
	"io/ioutil", "log", "golang.org/x/sys/unix"}

// clocks are the functions of package time that look at the clock or wait for it.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// seeded are the functions of math/rand/v2 that take their randomness as an argument.
var seeded = []string{"New", "NewPCG", "NewChaCha8", "NewZipf", "Rand", "PCG", "ChaCha8", "Source", "Zipf"}

// onlyIn lists libraries that one room alone imports.
var onlyIn = map[string]string{
	"github.com/gorilla/websocket": "core/link",
	"github.com/minio/minio-go/v7": "core/storage",
}

func TestFloorsImport(t *testing.T) {
	eachFile(t, func(room, name string, f *ast.File) {
		allowed, known := floors[room]
		if strings.HasPrefix(room, "cmd/") {
			allowed, known = roof[room]
		}
		if !known {
			t.Errorf("%s: the room %s stands on no floor", name, room)
		}
		for _, imp := range imports(f) {
			other, inside := strings.CutPrefix(imp, module)
			switch {
			case strings.HasPrefix(room, "cmd/") && !strings.HasPrefix(other, "cmd/"):
			case inside && roomOf(other) != room && !slices.Contains(allowed, roomOf(other)):
				t.Errorf("%s: %s must not import %s", name, room, other)
			case !inside && room == "core" && strings.Contains(strings.Split(imp, "/")[0], "."):
				t.Errorf("%s: core imports the standard library only, not %s", name, imp)
			}
			if only := onlyIn[imp]; only != "" && only != room {
				t.Errorf("%s: only %s imports %s", name, only, imp)
			}
		}
	})
}

// atMost bounds the lines of rooms that are to be read at a sitting, without tests.
var atMost = map[string]int{"core/node": 2500}

func TestFloorsSize(t *testing.T) {
	lines := map[string]int{}
	eachFile(t, func(room, name string, _ *ast.File) {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		lines[room] += strings.Count(string(text), "\n")
	})
	for room, most := range atMost {
		if n := lines[room]; n == 0 || n > most {
			t.Errorf("%s has %d lines, of %d at most: what of it belongs into another room?", room, n, most)
		}
	}
}

func TestFloorsWithinRooms(t *testing.T) {
	const disk = "core/storage/disk"
	joins := []string{disk, "core/durable", "core/keep", "core/place", "core/plan"}
	found := map[string]bool{}
	eachFile(t, func(room, name string, f *ast.File) {
		pkg := path.Dir(name)
		allowed, known := within[pkg]
		if slices.Contains(joins, pkg) || pkg == room && !known || !strings.HasPrefix(pkg, "core/") {
			return
		}
		if !known {
			t.Errorf("%s: %s is no package of a room", name, pkg)
		}
		found[pkg] = true
		if room == "core/storage" {
			room = disk
		}
		for _, imp := range imports(f) {
			other, inside := strings.CutPrefix(imp, module+room)
			if inside && (other == "" || other[0] == '/') && !slices.Contains(allowed, strings.TrimPrefix(other, "/")) {
				t.Errorf("%s must not import %s", name, imp)
			}
		}
	})
	if len(found) != len(within) {
		t.Errorf("of %d packages only %d are there", len(within), len(found))
	}
}

func TestFloorsPure(t *testing.T) {
	found := map[string]bool{}
	eachFile(t, func(room, name string, f *ast.File) {
		found[name], found[path.Dir(name)] = true, true
		if slices.Contains(pure, room) || slices.Contains(purePackages, path.Dir(name)) || slices.Contains(pureFiles, name) {
			for _, what := range impure(f) {
				t.Errorf("%s is pure, but has %s", name, what)
			}
		}
	})
	for _, name := range slices.Concat(purePackages, pureFiles) {
		if !found[name] {
			t.Errorf("%s is not there", name)
		}
	}
}

// TestFloorsOfTheMakefile: make test leaves the race detector away from pure rooms, and from those alone.
func TestFloorsOfTheMakefile(t *testing.T) {
	text, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "\nPURE := ")
	list, _, _ = strings.Cut(strings.ReplaceAll(list, "\\\n", ""), "\n")
	got := strings.Fields(list)
	for i, word := range got {
		got[i] = strings.TrimSuffix(strings.TrimPrefix(word, "./"), "/...")
	}
	if want := slices.Concat(pure, purePackages); !slices.Equal(slices.Sorted(slices.Values(got)),
		slices.Sorted(slices.Values(want))) {
		t.Errorf("PURE in the Makefile is %v, and the pure rooms are %v", got, want)
	}
}

// TestFloorsSeeImpurity makes sure that the test above can fail.
func TestFloorsSeeImpurity(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x
import ("os"; clock "time"; "math/rand/v2")
func f() { go f(); _ = clock.Now(); _ = os.Args; _ = rand.IntN(3); _ = rand.New(rand.NewPCG(1, 2)); _ = clock.Second }`, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := impure(f)
	want := []string{`import of os`, `a go statement`, `time.Now`, `math/rand/v2.IntN`}
	if !slices.Equal(got, want) {
		t.Errorf("impure = %q, want %q", got, want)
	}
}

// impure lists what f does that a pure room may not.
func impure(f *ast.File) (found []string) {
	for _, p := range imports(f) {
		if slices.Contains(worldly, p) {
			found = append(found, "import of "+p)
		}
	}
	names := localNames(f)
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, "a go statement")
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok {
				return true
			}
			p := names[x.Name]
			if p == "time" && slices.Contains(clocks, n.Sel.Name) || p == "math/rand/v2" && !slices.Contains(seeded, n.Sel.Name) {
				found = append(found, fmt.Sprintf("%s.%s", p, n.Sel.Name))
			}
		}
		return true
	})
	return found
}

// undurable is what makes, renames, removes or syncs files past core/durable.
var undurable = map[string][]string{
	"os": {"Create", "OpenFile", "CreateTemp", "MkdirTemp", "WriteFile", "Mkdir", "MkdirAll", "Rename", "Remove", "RemoveAll", "Link", "Symlink",
		"Truncate", "OpenRoot", "O_WRONLY", "O_RDWR", "O_CREATE"},
	"go.etcd.io/bbolt": {"Open"},
}

// undurableImports are libraries that do the same.
var undurableImports = []string{"github.com/google/renameio/v2", "github.com/gofrs/flock"}

// elsewhere lists the files that may: what they write is not below a data directory.
var elsewhere = map[string]string{
	"cmd/bkp/command/node/logs.go":                "the log of --log-file",
	"cmd/bkp/command/job/drill.go":                "what a drill fetched",
	"cmd/bkp/session/wiring.go":                   "the trace of --trace",
	"core/file/device.go":                         "a block device that is restored",
	"core/file/source.go":                         "opened for reading, but without waiting",
	"plugins/alone.go":                            "a program that is only tried",
	"cmd/bkp/scaffold/scaffold.go":                "the source of a new plugin, in its author's folder",
	"plugins/engines/cometbft/order/validator.go": "the home of a validator",
	"plugins/engines/folder/folder.go":            "a folder that several nodes share",
	"plugins/sockets.go":                          "sockets of plugins, of no use after their program",
}

func TestFloorsDurable(t *testing.T) {
	used := map[string]bool{}
	eachFile(t, func(room, name string, f *ast.File) {
		if room == "core/durable" || strings.HasPrefix(room, "scripts/") {
			return
		}
		for _, what := range pastDurable(f) {
			if elsewhere[name] == "" {
				t.Errorf("%s: %s: only core/durable makes, renames, removes or syncs files", name, what)
			}
			used[name] = true
		}
	})
	for name := range elsewhere {
		if !used[name] {
			t.Errorf("%s needs no exception any more: take it out of the list", name)
		}
	}
}

// TestFloorsSeeUndurable makes sure that the test above can fail.
func TestFloorsSeeUndurable(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x
import ("os"; db "go.etcd.io/bbolt"; "github.com/gofrs/flock")
func f() { _ = os.Remove; os.Stat(""); db.Open(""); os.Args = nil; d, _ := os.Open("."); d.Sync(); flock.New("") }`, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := pastDurable(f)
	want := []string{"import of github.com/gofrs/flock", "os.Remove", "go.etcd.io/bbolt.Open", "a sync of what os.Open opened"}
	if !slices.Equal(got, want) {
		t.Errorf("pastDurable = %q, want %q", got, want)
	}
}

// pastDurable lists what f does to files that core/durable should do. That a Sync is of a file it takes for granted
// where a function opens one.
func pastDurable(f *ast.File) (found []string) {
	for _, p := range imports(f) {
		if slices.Contains(undurableImports, p) {
			found = append(found, "import of "+p)
		}
	}
	names := localNames(f)
	for _, decl := range f.Decls {
		opens, syncs := false, false
		ast.Inspect(decl, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, _ := sel.X.(*ast.Ident)
			if x != nil && slices.Contains(undurable[names[x.Name]], sel.Sel.Name) {
				found = append(found, names[x.Name]+"."+sel.Sel.Name)
			}
			opens = opens || x != nil && names[x.Name] == "os" && sel.Sel.Name == "Open"
			syncs = syncs || sel.Sel.Name == "Sync"
			return true
		})
		if opens && syncs {
			found = append(found, "a sync of what os.Open opened")
		}
	}
	return found
}

// localNames is the packages that f imports, by the names that it gives them.
func localNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range f.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		local := path.Base(p)
		if version := strings.TrimPrefix(local, "v"); version != local && strings.Trim(version, "0123456789") == "" {
			local = path.Base(path.Dir(p))
		}
		if spec.Name != nil {
			local = spec.Name.Name
		}
		names[local] = p
	}
	return names
}

// eachFile visits every Go file of the project but tests and what only tests use.
func eachFile(t *testing.T, visit func(room, name string, f *ast.File)) {
	t.Helper()
	root, files := "..", 0
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if base := d.Name(); rel != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "build" || strings.HasSuffix(base, "test")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files++
		visit(roomOf(path.Dir(rel)), rel, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Fatalf("only %d files found: is this the project's root?", files)
	}
}

// roomOf is the room that a package belongs to: plugins of one kind share one.
func roomOf(pkg string) string {
	parts := strings.Split(pkg, "/")
	if len(parts) > 2 && parts[0] != "cmd" {
		parts = parts[:2]
	}
	return strings.Join(parts, "/")
}

func imports(f *ast.File) (out []string) {
	for _, spec := range f.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		out = append(out, p)
	}
	return out
}

func join(lists ...[]string) []string { return slices.Concat(lists...) }
