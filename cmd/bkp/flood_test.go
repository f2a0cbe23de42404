// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/wire"
)

// besieged is a node in a process of its own, and what stands against it.
type besieged struct {
	t       *testing.T
	dir     string
	address string
	token   []byte
	process *os.Process
	node    core.ID
}

// TestFlood: a thousand sockets that send a byte a second, and members that send every message that there is as fast as
// they can, one of whom reads no answer. Meanwhile other members' sessions stand within two seconds beside what it
// takes at a node that is left alone, a placement takes less than twice as long as one there at the same moment, and
// the node stays below 300 MiB; without a bound of what is in hand it took 780. BKP_FLOOD is how long each placement is
// to take; it wants a machine with nothing else to do.
func TestFlood(t *testing.T) {
	told := os.Getenv("BKP_FLOOD")
	if told == "" || runtime.GOOS != "linux" {
		t.Skip("runs where BKP_FLOOD says how long: make flood; on Linux, whose /proc tells the memory of a process")
	}
	long, err := time.ParseDuration(told)
	if err != nil {
		t.Fatal(err)
	}
	b, calm := besiege(t), besiege(t)
	for _, x := range []struct {
		name   string
		attack func(ctx context.Context, told *atomic.Int64)
	}{{"idle sockets", b.idle}, {"every message", b.flood}, {"answers unread", b.floodUnread}, {"all of it", b.all}} {
		t.Run(x.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var attack, doing sync.WaitGroup
			var told atomic.Int64
			attack.Go(func() { x.attack(ctx, &told) })
			time.Sleep(long / 4)
			var took, alone float64
			var sessions, others []time.Duration
			doing.Go(func() { took = b.place(x.name, long) })
			doing.Go(func() { alone = calm.place(x.name, long) })
			for range 8 {
				sessions, others = append(sessions, b.meet()), append(others, calm.meet())
			}
			doing.Wait()
			cancel()
			attack.Wait()
			t.Logf("%.2f s to place, %.2f beside it; a session took %v, %v beside it; peak %d MiB; %d messages or sockets", took,
				alone, sessions, others, b.memory(), told.Load())
			if took > 2*alone {
				t.Errorf("a placement takes %.1f times as long", took/alone)
			}
			if worst, alone := slices.Max(sessions), slices.Max(others); worst > 2*time.Second+2*alone {
				t.Errorf("a member's session stands after %v; at a node that is left alone it took %v", worst, alone)
			}
			if peak := b.memory(); peak >= 300 {
				t.Errorf("the node took %d MiB", peak)
			}
		})
	}
}

// besiege starts a node that gives each link 12 MiB/s.
func besiege(t *testing.T) *besieged {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	l.Close()
	b := &besieged{t: t, dir: t.TempDir(), address: l.Addr().String(), token: []byte(rand.Text())}
	token := filepath.Join(b.dir, "token")
	check(t, os.WriteFile(token, b.token, 0o600))
	log, err := os.Create(filepath.Join(b.dir, "log"))
	check(t, err)
	cmd := exec.Command("bkp", "node", "start", "--data", filepath.Join(b.dir, "node"), "--listen", b.address, "--token-file", token,
		"--capacity", "4GiB")
	cmd.Stdout, cmd.Stderr = log, log
	check(t, cmd.Start())
	b.process = cmd.Process
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		log.Close()
		if words, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("the node said: %.4000s", words)
		}
	})
	for deadline := time.Now().Add(20 * time.Second); exec.Command("bkp", "health", "--data", filepath.Join(b.dir, "node")).Run() != nil; {
		if time.Now().After(deadline) {
			t.Fatal("the node does not come up")
		}
		time.Sleep(100 * time.Millisecond)
	}
	v := b.visit()
	defer v.leave()
	b.node = (<-v.up).Peer().ID
	return b
}

// memory is the most that the node ever took, in MiB.
func (b *besieged) memory() int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.process.Pid))
	check(b.t, err)
	peak := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	kib, err := strconv.Atoi(string(peak[1]))
	check(b.t, err)
	return kib / 1024
}

// place places so much that it takes the time, over a link of 12 MiB/s, and returns how long it took, in seconds.
func (b *besieged) place(name string, long time.Duration) float64 {
	file := filepath.Join(b.dir, strings.ReplaceAll(name, " ", "-"))
	data := make([]byte, int(12*long.Seconds())<<20)
	rand.Read(data)
	err := os.WriteFile(file, data, 0o600)
	defer os.Remove(file)
	var out []byte
	for _, args := range [][]string{{"split", file, "--name", name}, {"place", name, "--replicas", "1", "--token-file",
		filepath.Join(b.dir, "token"), "--peers", "wss://" + b.address + "-12MiB"}} {
		if err == nil {
			args = append(args, "--data", filepath.Join(b.dir, "source"), "--json")
			out, err = exec.CommandContext(b.t.Context(), "bkp", args...).CombinedOutput()
		}
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var summary struct {
		Seconds float64 `json:"seconds"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(lines[len(lines)-1]), &summary)
	}
	if err != nil || summary.Seconds == 0 {
		b.t.Errorf("place: %v: %.2000s", err, out)
	}
	return summary.Seconds
}

// visitor is a member of the node's cluster.
type visitor struct {
	signer *key.Signer
	hub    *link.Hub
	up     chan *link.Session
	met    chan bool             // the node said what the link is given
	deaf   chan bool             // closed: reads on; nil: always does
	why    atomic.Pointer[error] // the last session ended
}

func (v *visitor) Up(s *link.Session)              { v.up <- s }
func (v *visitor) Down(_ *link.Session, err error) { v.why.Store(&err) }
func (v *visitor) Message(s *link.Session, m wire.Message) {
	if _, is := m.(wire.BandwidthCoordination); is {
		select {
		case v.met <- true:
		default:
		}
	} else if v.deaf != nil {
		select {
		case <-v.deaf:
		case <-s.Done():
		}
	}
}
func (v *visitor) Data(*link.Session, wire.Data) {}

func (v *visitor) ended() string {
	if why := v.why.Load(); why != nil {
		return fmt.Sprint(*why)
	}
	return ""
}

// visit makes a member with a key of its own, and dials the node.
func (b *besieged) visit() *visitor {
	signer, err := key.NewSigner(rand.Reader)
	check(b.t, err)
	v := &visitor{signer: signer, up: make(chan *link.Session, 16), met: make(chan bool, 1)}
	v.hub = link.New(link.Config{Signer: signer, Epoch: 1, Token: b.token, Admit: func(link.Peer) error { return nil }}, v)
	p, err := core.ParsePeer("wss://" + b.address + "-12MiB")
	check(b.t, err)
	v.hub.Dial(p)
	return v
}

func (v *visitor) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	v.hub.Close(ctx)
}

// meet is how long the session of a member takes to stand that never came before: from the first packet to the node's
// word of what it gives the link.
func (b *besieged) meet() time.Duration {
	began := time.Now()
	v := b.visit()
	defer v.leave()
	late := time.After(30 * time.Second)
	select {
	case s := <-v.up:
		s.Send(wire.BandwidthCoordination{Size: 12 << 20})
		select {
		case <-v.met:
		case <-late:
		}
	case <-late:
	}
	return time.Since(began).Round(time.Millisecond)
}

// idle keeps a thousand sockets that send a byte a second of a TLS handshake; who loses its place comes back.
func (b *besieged) idle(ctx context.Context, told *atomic.Int64) {
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			for ctx.Err() == nil {
				conn, err := net.Dial("tcp", b.address)
				if err != nil {
					time.Sleep(100 * time.Millisecond)
					continue
				}
				told.Add(1)
				for _, c := range []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3} {
					conn.Write([]byte{c}) // in vain where it lost its place, and it comes back
					select {
					case <-ctx.Done():
					case <-time.After(time.Second):
					}
				}
				conn.Close()
			}
		})
	}
	all.Wait()
}

// flood has a member send all that there is to say.
func (b *besieged) flood(ctx context.Context, told *atomic.Int64) { b.floodAs(ctx, told, nil) }

// floodUnread is flood by who reads no answers.
func (b *besieged) floodUnread(ctx context.Context, told *atomic.Int64) {
	b.floodAs(ctx, told, make(chan bool))
}

func (b *besieged) all(ctx context.Context, told *atomic.Int64) {
	var all sync.WaitGroup
	for _, attack := range []func(context.Context, *atomic.Int64){b.idle, b.flood, b.floodUnread} {
		all.Go(func() { attack(ctx, told) })
	}
	all.Wait()
}

func (b *besieged) floodAs(ctx context.Context, told *atomic.Int64, deaf chan bool) {
	v := b.visit()
	v.deaf = deaf
	defer v.leave()
	makers := b.words(v)
	for i := uint64(1); ctx.Err() == nil; {
		var s *link.Session
		select {
		case s = <-v.up: // again, where what it said was too bad: what the node has no use for it hears once
			makers = slices.DeleteFunc(makers, func(make func(uint64) wire.Message) bool {
				return strings.Contains(v.ended(), "unexpected "+make(i).Type())
			})
		case <-ctx.Done():
			return
		}
		s.Send(wire.BandwidthCoordination{Size: 12 << 20})
		for ctx.Err() == nil {
			if s.Behind() {
				select {
				case <-time.After(time.Millisecond):
				case <-ctx.Done():
				}
				continue
			}
			if s.Send(makers[i%uint64(len(makers))](i)) != nil {
				break
			}
			i++
			told.Add(1)
		}
	}
}

// words makes messages of every type that a member may send: what each golden vector of core/wire says and, where much
// is to be looked at, more of it, signed as it has to be.
func (b *besieged) words(v *visitor) (makers []func(i uint64) wire.Message) {
	always := func(m wire.Message) { makers = append(makers, func(uint64) wire.Message { return m }) }
	for _, pattern := range []string{"*.json", "v2/*.json"} {
		files, err := filepath.Glob("../../core/wire/testdata/golden/" + pattern)
		check(b.t, err)
		for _, file := range files {
			data, err := os.ReadFile(file)
			check(b.t, err)
			switch name := strings.TrimSuffix(filepath.Base(file), ".json"); name {
			case "HELLO", "AUTH", "JOIN", "JOINED": // end a session that stands
			default:
				m, err := wire.Decode(data)
				if err != nil {
					b.t.Fatalf("%s: %v", file, err)
				}
				always(m)
			}
		}
	}
	owner, err := key.NewOwner(rand.Reader)
	check(b.t, err)
	stranger, err := key.NewSigner(rand.Reader)
	check(b.t, err)
	var words [][]byte
	for range 16 {
		envelope, err := owner.Words(v.signer.ID(), time.Now().Add(time.Hour))
		check(b.t, err)
		words = append(words, envelope)
	}
	always(wire.Delegation{Delegations: words})
	always(wire.StateQuery{Query: 1, Owner: owner.ID(), Files: true})
	always(wire.RefList{Query: 1, Owner: owner.ID()})
	always(wire.RefGet{Query: 1, Owner: owner.ID(), Alias: owner.Alias("x")})
	gain := wire.GainApply{Flow: 1, Owner: owner.ID(), Name: owner.Alias("x"), Rate: 1 << 20}
	for i := range 1000 {
		gain.Runs = append(gain.Runs, wire.GainRun{Hash: core.Hash{byte(i), byte(i >> 8), 1}})
	}
	always(gain)
	list := key.Revocations{}
	makers = append(makers, func(i uint64) wire.Message {
		envelope, err := owner.Revoke(list, core.Revoked{Nodes: []core.ID{{byte(i), byte(i >> 8), 7}}}, time.Now().Unix())
		check(b.t, err)
		return wire.Revoked{Lists: [][]byte{envelope}}
	}, func(i uint64) wire.Message { return b.task(v, owner, i) },
		func(i uint64) wire.Message {
			envelope, err := owner.SignRelease(key.Release{Task: core.TaskID{1}, Alias: owner.Alias("x"), Version: 1, Time: time.Now().Unix()})
			check(b.t, err)
			return wire.Release{Query: i, Envelope: envelope}
		}, func(i uint64) wire.Message {
			m, err := wire.NewRelay([]core.ID{stranger.ID(), v.signer.ID(), b.node}, wire.StateQuery{Query: i}, time.Now(), stranger)
			check(b.t, err)
			return m
		})
	return makers
}

// task is a segment of 4096 runs that the member's own owner licenses, each time of another task.
func (b *besieged) task(v *visitor, owner *key.Owner, i uint64) wire.Message {
	id := core.TaskID{byte(i), byte(i >> 8), byte(i >> 16), 3}
	m := wire.StorageTask{Task: id, Alias: owner.Alias("x"), Version: 1}
	var runs []core.Chunk
	for r := range 4096 {
		f := core.File{Name: fmt.Sprintf("%s.1.%d", m.Alias, r), Type: core.TypeFile, Order: r, Size: 1000,
			Hash: core.Hash{byte(r), byte(r >> 8), byte(i), byte(i >> 8), 9}}
		m.Files, runs = append(m.Files, f), append(runs, core.Chunk{Hash: f.Hash, Size: f.Size})
	}
	m.Locations = []core.Span{{Node: b.node, From: v.signer.ID(), Length: len(m.Files)}}
	now := time.Now()
	var err error
	m.License, err = license.Sign(core.License{V: 1, ID: core.LicenseID(id), Task: id, TaskSource: core.TaskSource{Owner: owner.ID(),
		Node: v.signer.ID()}, Targets: []core.ID{b.node}, Op: "store", Root: chunk.RunHash(runs), MaxBytes: 4096 * 1000, MaxRuns: 4096,
		NotBefore: now.Unix(), Expires: now.Add(time.Hour).Unix(), RetainUntil: now.Add(time.Hour).Unix(),
		Key: owner.Signer().Public()}, owner.Signer())
	check(b.t, err)
	return m
}
