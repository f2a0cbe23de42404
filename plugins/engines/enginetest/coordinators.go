// SPDX-License-Identifier: Apache-2.0

// Package enginetest tries an engine by the built program: nodes with one order, two machines of one owner that see to the
// same version, one of which is killed, and an engine that is away for a while.
package enginetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
)

// Order is an engine under test.
type Order struct {
	Name     string         // of the command ./bkp-engine-NAME of the test's folder
	Settings map[string]any // in [plugin.engine.NAME]
	Engine   core.Engine    // the order as the test itself sees it
	Down, Up func()         // the whole engine goes away, and is there again
}

// patience is with nodes that are to notice something.
const patience = time.Minute

// world is three nodes that keep, and two machines of one owner.
type world struct {
	t     *testing.T
	dir   string
	order Order
	peers string
	nodes []string // data directories of b, c and d
}

// Coordinators runs the story. It takes a minute or two.
func Coordinators(t *testing.T, o Order) {
	w := begin(t, o)
	w.atOnce()
	w.killed()
	w.away()
	for _, node := range append(w.nodes, "x", "y") {
		t.Log(w.must("ledger", "verify", "--order", "--data", node))
	}
	w.sound()
}

// begin builds the programs and starts the nodes.
func begin(t *testing.T, o Order) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), order: o, nodes: []string{"b", "c", "d"}}
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/bkp-tool/bkp").Output()
	if err != nil {
		t.Fatal(err)
	}
	w.build(strings.TrimSpace(string(root)), "./cmd/bkp", "bkp")
	w.build(".", "./bkp-engine-"+o.Name, filepath.Join("plugins", "bkp-engine-"+o.Name))
	var list []string
	for _, node := range append(w.nodes, "x", "y") {
		w.configure(node)
	}
	for _, node := range w.nodes {
		at := free(t)
		w.background("node", "start", "--data", node, "--listen", at, "--capacity", "1GiB", "--peers", strings.Join(list, ","))
		w.eventually("health", "--data", node)
		list = append(list, "ws://"+at+"-50MiB")
	}
	w.peers = strings.Join(list, ",")
	w.must("key", "show", "--data", "x")
	w.write("first", 4<<20)
	w.must("split", "first", "--data", "x")
	w.must("key", "export", "--data", "x", "-o", "identity")
	w.must("key", "import", "identity", "--data", "y")
	w.must("split", "first", "--data", "y")
	return w
}

func (w *world) build(from, pkg, to string) {
	w.t.Helper()
	c := exec.Command("go", "build", "-o", filepath.Join(w.dir, to), pkg)
	c.Dir = from
	if out, err := c.CombinedOutput(); err != nil {
		w.t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
}

func (w *world) configure(node string) {
	w.t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "[plugin.engine.%s]\n", w.order.Name)
	for name, value := range w.order.Settings {
		encoded, err := json.Marshal(value) // which TOML reads alike
		if err != nil {
			w.t.Fatal(err)
		}
		fmt.Fprintf(&text, "%s = %s\n", name, encoded)
	}
	if err := os.Mkdir(filepath.Join(w.dir, node), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, node, "config.toml"), []byte(text.String()), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) write(name string, size int) {
	w.t.Helper()
	data := make([]byte, size)
	rand.NewChaCha8([32]byte([]byte(strings.Repeat(name, 32)[:32]))).Read(data)
	if err := os.WriteFile(filepath.Join(w.dir, name), data, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// command is bkp with arguments; peers are those of a command that becomes a node.
func (w *world) command(args ...string) (*exec.Cmd, *bytes.Buffer) {
	c := exec.Command(filepath.Join(w.dir, "bkp"), args...)
	c.Dir, c.Env = w.dir, append(os.Environ(), "HOME="+w.dir, "BKP_PLUGIN_PATH="+filepath.Join(w.dir, "plugins"),
		"BKP_INSECURE_PLAINTEXT=true", "BKP_PROGRESS=none")
	if args[0] != "node" && w.peers != "" {
		c.Env = append(c.Env, "BKP_PEERS="+w.peers)
	}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	return c, &out
}

func (w *world) run(args ...string) (out string, code int) {
	w.t.Helper()
	c, text := w.command(args...)
	_ = c.Run()
	return text.String(), c.ProcessState.ExitCode()
}

func (w *world) must(args ...string) string {
	w.t.Helper()
	out, code := w.run(args...)
	if code != 0 {
		w.t.Fatalf("bkp %s: %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (w *world) eventually(args ...string) {
	w.t.Helper()
	for until := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		out, code := w.run(args...)
		if code == 0 {
			return
		}
		if time.Now().After(until) {
			w.t.Fatalf("bkp %s: still %d\n%s", strings.Join(args, " "), code, out)
		}
	}
}

// slowly is the peers, over links of so much a second, so that a placement takes a while.
func (w *world) slowly(rate string) string { return strings.ReplaceAll(w.peers, "50MiB", rate) }

// background starts a node, which ends with the test.
func (w *world) background(args ...string) {
	w.t.Helper()
	c, out := w.command(args...)
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		_ = c.Wait()
		w.t.Logf("bkp %s:\n%s", strings.Join(args, " "), out)
	})
}

// atOnce has both machines place the same version at the same time: one of them does.
func (w *world) atOnce() {
	w.t.Helper()
	var both sync.WaitGroup
	var codes [2]int
	var outs [2]string
	for i, machine := range []string{"x", "y"} {
		both.Go(func() { outs[i], codes[i] = w.run("place", "first", "--data", machine, "--peers", w.slowly("1MiB")) })
	}
	both.Wait()
	w.t.Logf("at once:\nx: %d\n%s\ny: %d\n%s", codes[0], outs[0], codes[1], outs[1])
	if !slices.Contains(codes[:], 0) {
		w.t.Error("neither placed it")
	}
	w.same("first")
	w.sound()
	w.once(2 * 4 << 20)
}

// once waits until nodes keep no more runs than a version has, and a little for its tree.
func (w *world) once(bytes int64) {
	w.t.Helper()
	for until := time.Now().Add(patience); ; time.Sleep(500 * time.Millisecond) {
		kept := int64(0)
		for _, node := range w.nodes {
			var sum struct {
				Bytes int64 `json:"bytes"`
			}
			out := strings.TrimSpace(w.must("node", "files", "--data", node, "--json"))
			if err := json.Unmarshal([]byte(out[strings.LastIndexByte(out, '\n')+1:]), &sum); err != nil {
				w.t.Fatal(err)
			}
			kept += sum.Bytes
		}
		if kept <= bytes+bytes/8 {
			w.t.Logf("%d bytes are kept", kept)
			return
		}
		if time.Now().After(until) {
			w.t.Errorf("%d bytes are kept, and %d are one placement", kept, bytes)
			return
		}
	}
}

// killed has one machine die amid its placement, and the other take over from it.
func (w *world) killed() {
	w.t.Helper()
	w.write("second", 24<<20)
	w.must("split", "second", "--data", "x")
	w.must("split", "second", "--data", "y")
	before := w.accepted()
	c, out := w.command("place", "second", "--data", "x", "--peers", w.slowly("500KiB"))
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for until := time.Now().Add(patience); w.accepted() == before; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(until) {
			w.t.Fatal("no node accepts anything of it")
		}
	}
	time.Sleep(2 * time.Second) // its licences are with the nodes, and some of the bytes
	if err := c.Process.Kill(); err != nil {
		w.t.Fatalf("it was placed before it could be killed: %v\n%s", err, out)
	}
	<-ended
	w.t.Logf("x, until it was killed:\n%s", out)
	w.t.Logf("y, which takes over:\n%s", w.must("place", "second", "--data", "y"))
	w.same("second")
	text, code := w.run("repair", "second", "--data", "x")
	w.t.Logf("x, which comes back: %d\n%s", code, text)
	if code != int(core.CodeRefused) || !strings.Contains(text, "sees to it since") {
		w.t.Error("x does not leave it to y")
	}
	w.sound()
}

// away has the engine go away: that is said, nothing is lost, and all goes on once it is there again.
func (w *world) away() {
	w.t.Helper()
	w.write("third", 1<<20)
	w.must("split", "third", "--data", "y")
	recorded := w.heads()
	w.order.Down()
	w.says("the order cannot be asked", 3, "health", "--data", "b")
	out, code := w.run("place", "third", "--data", "y")
	w.t.Logf("without the engine: %d\n%s", code, out)
	if code != int(core.CodePlugin) || !strings.Contains(out, "no licence was signed") {
		w.t.Error("y does not say that nothing was signed")
	}
	w.same("second")
	w.order.Up()
	for _, node := range w.nodes {
		w.eventually("health", "--data", node)
	}
	w.t.Logf("with it again:\n%s", w.must("place", "third", "--data", "y"))
	w.same("third")
	for i, head := range w.heads() {
		if i < len(recorded) && !bytes.Equal(recorded[i], head) {
			w.t.Errorf("entry %d of the heads is not what was recorded", i+1)
		}
	}
	w.t.Log(w.must("ledger", "order", "--data", "y"))
}

// says waits until a command says something and ends with a code.
func (w *world) says(want string, code int, args ...string) {
	w.t.Helper()
	for until := time.Now().Add(patience); ; time.Sleep(500 * time.Millisecond) {
		out, got := w.run(args...)
		if got == code && strings.Contains(out, want) {
			w.t.Logf("bkp %s: %d\n%s", strings.Join(args, " "), got, out)
			return
		}
		if time.Now().After(until) {
			w.t.Fatalf("bkp %s: %d\n%s", strings.Join(args, " "), got, out)
		}
	}
}

// same fetches a version and compares it with its file.
func (w *world) same(name string) {
	w.t.Helper()
	w.must("fetch", name, "--data", "y", "-o", "fetched", "--force")
	want, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(w.dir, "fetched"))
	if err != nil || !bytes.Equal(got, want) {
		w.t.Fatalf("%s is fetched wrong: %v", name, err)
	}
}

// read is all of a scope, as the engine has it.
func (w *world) read(scope string) (all [][]byte) {
	w.t.Helper()
	for until := time.Now().Add(patience); ; {
		page, err := w.order.Engine.Read(w.t.Context(), scope, int64(len(all)), 100)
		if err != nil && time.Now().Before(until) {
			continue
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
	}
}

func (w *world) heads() [][]byte { return w.read("heads") }

// versions are the scopes of what was placed so far, by all ledgers.
func (w *world) versions() (scopes []string) {
	for _, name := range append(w.nodes, "x", "y") {
		for _, l := range w.licenses(name) {
			scope := fmt.Sprintf("version/%s/%s/%d", l.TaskSource.Owner, l.Alias, l.Version)
			if !slices.Contains(scopes, scope) {
				scopes = append(scopes, scope)
			}
		}
	}
	return scopes
}

// accepted is how many licences the nodes have accepted.
func (w *world) accepted() (n int) {
	for _, node := range w.nodes {
		n += len(w.licenses(node))
	}
	return n
}

// licenses are those that a ledger has.
func (w *world) licenses(node string) (found []core.License) {
	w.t.Helper()
	out, code := w.run("ledger", "log", "--json", "--data", node)
	if code == int(core.CodeNoName) {
		return nil
	}
	for line := range strings.Lines(out) {
		var row struct {
			Kind     string          `json:"kind"`
			Envelope json.RawMessage `json:"envelope"`
		}
		if json.Unmarshal([]byte(line), &row) != nil || row.Kind != "license" {
			continue
		}
		l, _, _, err := license.Open(row.Envelope)
		if err != nil {
			w.t.Fatal(err)
		}
		found = append(found, l)
	}
	return found
}

// sound wants the order and all ledgers to agree: every licence that a node accepted is booked, once, by its coordinator,
// and no version has two coordinators in one term.
func (w *world) sound() {
	w.t.Helper()
	booked := map[core.LicenseID]core.ID{}
	for _, scope := range w.versions() {
		words := strings.Split(scope, "/")
		owner, err := core.ParseID(words[1])
		if err != nil {
			w.t.Fatal(err)
		}
		var b license.Bookings
		party := license.Party{TaskSource: core.TaskSource{Owner: owner}, Alias: words[2]}
		_, _ = fmt.Sscan(words[3], &party.Version)
		terms := map[int]core.ID{}
		for _, entry := range w.read(scope) {
			if b.Add(entry, party, key.DelegationFields) != nil {
				continue
			}
			next, _, _ := license.OpenBooking(entry, key.DelegationFields)
			if before := terms[next.Term]; !before.IsZero() && before != next.Node {
				w.t.Errorf("%s: %s and %s in term %d", scope, before.Short(), next.Node.Short(), next.Term)
			}
			terms[next.Term] = next.Node
			for _, id := range next.Licenses {
				if !booked[id].IsZero() {
					w.t.Errorf("licence %s is booked twice", id)
				}
				booked[id] = next.Node
			}
		}
	}
	accepted := 0
	for _, node := range w.nodes {
		for _, l := range w.licenses(node) {
			if accepted++; booked[l.ID] != l.TaskSource.Node {
				w.t.Errorf("%s accepted licence %s, which is not booked by its coordinator", node, l.ID)
			}
		}
	}
	w.t.Logf("%d licences accepted, %d booked", accepted, len(booked))
}

// free is an address that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
