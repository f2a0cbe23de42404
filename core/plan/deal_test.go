// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// TestDeal gives the last runs of a fetch to holders of 10 and of 40 bytes a second.
func TestDeal(t *testing.T) {
	const slow, fast = 0, 1
	both := func(sizes ...core.Size) (out []Piece) {
		for _, s := range sizes {
			out = append(out, Piece{Size: s, Holders: []int{slow, fast}})
		}
		return out
	}
	for _, c := range []struct {
		name     string
		bringers []Bringer
		pieces   []Piece
		want     []int
	}{
		{"one in five to the slow one", []Bringer{{Rate: 10}, {Rate: 40}}, both(10, 10, 10, 10, 10),
			[]int{1, 1, 1, 0, 1}},
		{"the last one to the fast one, though it is busy and the other is not",
			[]Bringer{{Rate: 10}, {Rate: 40, Queued: 20}}, both(10), []int{1}},
		{"to the slow one when the fast one has much to do", []Bringer{{Rate: 10}, {Rate: 40, Queued: 200}}, both(10),
			[]int{0}},
		{"a queue hides the way", []Bringer{{Rate: 40, Delay: 1}, {Rate: 40, Delay: 1, Queued: 40}}, both(10, 10),
			[]int{0, 1}},
		{"who alone has a run brings it", []Bringer{{Rate: 10, Queued: 500}, {Rate: 40}},
			[]Piece{{10, []int{slow}}, {10, []int{fast}}}, []int{0, 1}},
		{"nobody's rate is known", []Bringer{{}, {}}, both(10), []int{-1}},
	} {
		if got := Deal(c.bringers, c.pieces); !slices.Equal(got, c.want) {
			t.Errorf("%s: dealt to %v, want %v", c.name, got, c.want)
		}
	}
}

// TestTwice asks whether an idle holder of 40 bytes a second, a second away, should bring what others are late with.
func TestTwice(t *testing.T) {
	idle := Bringer{Rate: 40, Delay: 1}
	for _, c := range []struct {
		name string
		b    Bringer
		late []Late
		want int
	}{
		{"the latest", idle, []Late{{40, 5}, {40, 9}, {40, 7}}, 1},
		{"not for little", idle, []Late{{40, 2.4}}, -1},
		{"nothing is late", idle, nil, -1},
		{"one whose rate nobody knows", Bringer{}, []Late{{40, 9}}, -1},
		{"a busy one", Bringer{Rate: 40, Queued: 400}, []Late{{40, 9}}, -1},
	} {
		if got := Twice(c.b, c.late); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
