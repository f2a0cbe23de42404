// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
)

func TestDegradedNodeIsPassedOver(t *testing.T) {
	for _, refuses := range []bool{true, false} {
		t.Run(fmt.Sprint("refuses ", refuses), func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				c := newCluster(t)
				a := c.start("a", "", c.owned)
				b := c.start("b", "a-20MiB")
				c.start("c", "a-1MiB") // for which nearest cares only where it must
				a.split("disk.img", 1, content(1, 1<<20))
				c.settle()
				b.Health.Degrade("test", "a screw is loose", refuses)
				if s := b.status(); s.Health != control.HealthDegraded || s.Ready || len(s.Reasons) != 1 ||
					(s.Remaining == 0) != refuses {
					t.Errorf("status: %s, ready %v, %v, %s remain", s.Health, s.Ready, s.Reasons, s.Remaining)
				}
				peers, err := a.ListPeers(t.Context(), control.PeersArgs{}, quiet)
				check(t, err)
				if row := peers.Peers[0]; !slices.Equal(row.Degraded, []string{"a screw is loose"}) ||
					(row.Remaining == 0) != refuses {
					t.Errorf("its peer hears %q, and that %s remain", row.Degraded, row.Remaining)
				}
				var told []string
				_, err = a.Place(t.Context(), control.PlaceArgs{Name: "disk.img", Replicas: 1, Strategy: "nearest"},
					func(s control.Status) {
						if s.Warning {
							told = append(told, s.Text)
						}
					})
				check(t, err)
				if len(told) != 1 || !strings.HasSuffix(told[0], "(b:8001) is degraded: a screw is loose") {
					t.Errorf("warned of %q", told)
				}
				if runs := b.status().Runs; (runs == 0) != refuses {
					t.Errorf("it keeps %d runs", runs)
				}
				b.Health.Recover("test")
				if s := b.status(); s.Health != control.HealthReady || !s.Ready || len(s.Reasons) != 0 ||
					s.Remaining == 0 {
					t.Errorf("status: %s, ready %v, %v, %s remain", s.Health, s.Ready, s.Reasons, s.Remaining)
				}
				a.split("other.img", 1, content(2, 1<<20))
				a.place(control.PlaceArgs{Name: "other.img", Replicas: 1, Strategy: "nearest"})
				if b.status().Runs == 0 {
					t.Error("it keeps nothing, though it is well again")
				}
			})
		})
	}
}

func TestNodeThatDegradesAfterItWasAskedRefusesTheTask(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		var b *member
		a := c.start("a", "", c.owned, func(conf *commands.Config) {
			conf.Strategy = func(ctx context.Context, name string) (core.Strategy, io.Closer, error) {
				b.Health.Degrade("test", "a screw is loose", true) // the survey is over by now
				return shippedStrategy(ctx, name)
			}
		})
		b = c.start("b", "a-20MiB")
		a.split("disk.img", 1, content(1, 1<<20))
		c.settle()
		_, err := a.Place(t.Context(), control.PlaceArgs{Name: "disk.img", Replicas: 1, Strategy: "seed"}, quiet)
		if core.CodeOf(err) != core.CodeRedundant {
			t.Errorf("place: %v, want that the copy cannot be made", err)
		}
		synctest.Wait()
		want := fmt.Sprintf(`"code":%d,"reason":"this node is degraded and keeps nothing new: a screw is loose"`,
			core.ReasonDegraded)
		if !strings.Contains(a.trace.String(), want) {
			t.Errorf("no refusal came that says %s", want)
		}
	})
}

// TestDegradedHolderStillGives: a node that keeps nothing new is the last to have some runs, and another gets them of
// it.
func TestDegradedHolderStillGives(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := kept5(c, true)
		data := content(3, 1<<20)
		a.split("disk.img", 1, data)
		c.settle()
		placed := a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
		holds := func(m *member) bool {
			return slices.ContainsFunc(placed.Placements, func(r control.Placement) bool { return r.Node == m.ID() && r.Bytes > 0 })
		}
		var holders []*member
		for _, name := range []string{"b", "c", "d", "e"} {
			if holds(c.nodes[name]) {
				holders = append(holders, c.nodes[name])
			}
		}
		holders[0].Health.Degrade("test", "a screw is loose", true)
		holders[1].stop()
		holders[1].wipe()
		holders[1].run()
		time.Sleep(20 * time.Minute)
		a.awaitState("disk.img", control.StateWell, 20*time.Minute)
		a.fetch("disk.img", 1, data)
	})
}
