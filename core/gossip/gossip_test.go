// SPDX-License-Identifier: Apache-2.0

package gossip

import (
	"crypto/rand"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/health"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
)

// stage is the loop, the peers and the records of a node whose gossip is looked at; acts run where they are begun.
type stage struct {
	g      *Gossip
	met    []core.ID
	sent   map[core.ID][]wire.Message
	lists  map[core.ID]key.Revocations
	looked int // times that the rights of peers were looked at
	heads
}

func newStage(t *testing.T, peers int) *stage {
	t.Helper()
	w := &stage{sent: map[core.ID][]wire.Message{}, lists: map[core.ID]key.Revocations{}}
	for i := range peers {
		w.met = append(w.met, core.ID{byte(i + 1)})
	}
	self := signer(t)
	w.heads = heads{signer: self, kept: map[core.ID]key.SignedHead{}}
	w.g = New(Config{Self: self.ID(), Heads: &w.heads, Revoked: w, Owner: func() *key.Owner { return nil },
		Health: &health.Health{}, Log: slog.New(slog.DiscardHandler)}, w, w)
	return w
}

func signer(t *testing.T) *key.Signer {
	t.Helper()
	s, err := key.NewSigner(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *stage) Post(event func(*Gossip))         { event(w.g) }
func (w *stage) Act(f func())                     { f() }
func (w *stage) Met() []core.ID                   { return w.met }
func (w *stage) Hears(core.ID, wire.Feature) bool { return true }
func (w *stage) Revoked()                         { w.looked++ }
func (w *stage) All() [][]byte                    { return nil }
func (w *stage) Of(owner core.ID) key.Revocations { return w.lists[owner] }
func (w *stage) Send(to core.ID, m wire.Message) bool {
	w.sent[to] = append(w.sent[to], m)
	return true
}

func (w *stage) Keep(l key.Revocations, _ []byte) (bool, error) {
	if !l.Follows(w.lists[l.Owner]) {
		return false, nil
	}
	w.lists[l.Owner] = l
	return true, nil
}

// heads is ledgers of which each has one entry more than it says, and no proof is looked at.
type heads struct {
	signer *key.Signer
	kept   map[core.ID]key.SignedHead
}

func (h *heads) Own() (key.SignedHead, error) {
	return key.SignHead(9, core.Hash{9}, h.signer), nil
}
func (h *heads) Holds(core.LedgerHead) error                               { return nil }
func (h *heads) Prove(int64, int64) ([]core.Hash, error)                   { return []core.Hash{{1}}, nil }
func (h *heads) Follows(key.SignedHead, key.SignedHead, []core.Hash) error { return nil }
func (h *heads) Kept() map[core.ID]key.SignedHead                          { return h.kept }
func (h *heads) Keep(heads []key.SignedHead) error                         { return nil }

// TestListsAreToldOnSeldom: a list is told on at once; of an owner that signs one after another each node tells its
// neighbours the newest, a second later.
func TestListsAreToldOnSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, 3)
		owner, err := key.NewOwner(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		told := func(want ...int64) {
			t.Helper()
			for _, id := range w.met {
				var got []int64
				for _, m := range w.sent[id] {
					list, err := key.OpenRevocations(m.(wire.Revoked).Lists[0])
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, list.Sequence)
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s was told the lists %v, want %v", id.Short(), got, want)
				}
			}
		}
		for i := range byte(100) {
			envelope, err := owner.Revoke(w.lists[owner.ID()], core.Revoked{Nodes: []core.ID{{i, 1}}}, 1)
			if err != nil {
				t.Fatal(err)
			}
			w.g.HeardRevoked(w.met[0], wire.Revoked{Lists: [][]byte{envelope}})
		}
		if kept := w.lists[owner.ID()].Sequence; kept != 100 || w.looked != 100 {
			t.Errorf("the list %d is kept, and rights were looked at %d times; want 100", kept, w.looked)
		}
		w.g.Look()
		told(1)
		time.Sleep(tellEvery)
		w.g.Look()
		told(1, 100)
		time.Sleep(tellEvery)
		w.g.Look()
		told(1, 100)
	})
}

// TestProofIsAwaited: a member whose ledger has grown must prove that it goes on from the head that is kept, and is
// named half a minute later where it does not, unless its session has ended.
func TestProofIsAwaited(t *testing.T) {
	for name, c := range map[string]struct {
		then  func(w *stage, m wire.Heads)
		named bool
	}{
		"it is silent": {func(*stage, wire.Heads) {}, true},
		"it proves it": {func(w *stage, m wire.Heads) {
			m.From, m.Proof = 4, []core.Hash{{1}}
			w.g.HeardHeads(w.met[0], m)
		}, false},
		"it goes": {func(w *stage, _ wire.Heads) { w.g.Gone(w.met[0]) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newStage(t, 0)
				other := signer(t)
				w.met = []core.ID{other.ID()}
				w.kept[other.ID()] = key.SignHead(4, core.Hash{4}, other)
				w.g.Met(other.ID())
				m := wire.Heads{Own: wire.Head(key.SignHead(7, core.Hash{7}, other))}
				w.g.HeardHeads(other.ID(), m)
				c.then(w, m)
				time.Sleep(proofPatience - time.Second)
				w.g.Look()
				if why := w.g.Health.Reasons(); len(why) > 0 {
					t.Errorf("before its time is over: %v", why)
				}
				time.Sleep(time.Second)
				w.g.Look()
				why := w.g.Health.Reasons()
				if named := len(why) == 1 && strings.Contains(why[0].Text, other.ID().Short()); named != c.named {
					t.Errorf("named %t, want %t: %v", named, c.named, why)
				}
			})
		})
	}
}
