// SPDX-License-Identifier: Apache-2.0

package retain

import (
	"slices"
	"testing"
	"time"
)

func TestSift(t *testing.T) {
	zone := time.FixedZone("", 2*3600)
	// Version N is the Nth of these, oldest first; the third and fourth are of one day in that zone, but not in UTC.
	var versions []Version
	for i, at := range []string{"2026-01-05 10:00", "2026-01-31 10:00", "2026-02-28 00:30", "2026-02-28 23:30",
		"2026-03-01 12:00", "2026-03-02 12:00", "2026-03-02 13:00"} {
		made, err := time.ParseInLocation("2006-01-02 15:04", at, zone)
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, Version{Version: i + 1, Created: made.Unix()})
	}
	for _, c := range []struct {
		rule map[string]int
		keep []int
		why  map[int][]string
	}{
		{map[string]int{"last": 2}, []int{6, 7}, nil},
		{map[string]int{"last": 20}, []int{1, 2, 3, 4, 5, 6, 7}, nil},
		{map[string]int{"daily": 3}, []int{4, 5, 7}, map[int][]string{7: {"daily 2026-03-02"}}},
		// Sunday, Monday
		{map[string]int{"weekly": 2}, []int{5, 7}, map[int][]string{5: {"weekly 2026-W09"}, 7: {"weekly 2026-W10"}}},
		{map[string]int{"monthly": 9}, []int{2, 4, 7}, nil},
		{map[string]int{"last": 1, "monthly": 2}, []int{4, 7}, map[int][]string{7: {"last", "monthly 2026-03"}}},
	} {
		rows := slices.Clone(versions)
		rules := []Rule{}
		for _, r := range Rules() {
			if r.Count = c.rule[r.Name]; r.Count > 0 {
				rules = append(rules, r)
			}
		}
		Sift(rows, rules, zone)
		var kept []int
		for _, r := range rows {
			if r.Keep {
				kept = append(kept, r.Version)
			}
			if want, ok := c.why[r.Version]; ok && !slices.Equal(want, r.Reasons) {
				t.Errorf("%v: version %d stays because of %q, want %q", c.rule, r.Version, r.Reasons, want)
			}
		}
		if !slices.Equal(kept, c.keep) {
			t.Errorf("%v keeps %v, want %v", c.rule, kept, c.keep)
		}
	}
}

// Bad input 87: versions out of the order of time. A day counts once, the last days count, and the newest version of a
// day is the one of the highest number, whatever the clock said.
func TestSiftOutOfOrder(t *testing.T) {
	const daily, last = "daily", "last"
	for _, c := range []struct {
		name string
		days []int // of versions 1, 2, …
		rule string
		n    int
		keep []int
	}{
		{"a clock that was set back for a day", []int{20, 26, 25, 26}, daily, 3, []int{1, 3, 4}},
		{"the same, and fewer days", []int{20, 26, 25, 26}, daily, 2, []int{3, 4}},
		{"a clock that was a year ahead once", []int{20, 400, 21, 22}, daily, 2, []int{2, 4}},
		{"a clock that was set back for good", []int{25, 26, 27, 3, 4}, daily, 3, []int{1, 2, 3}},
		{"of all versions the last is the newest, whatever its date", []int{25, 26, 3}, last, 1, []int{3}},
		{"versions of one day", []int{20, 20, 20}, daily, 7, []int{3}},
	} {
		var rows []Version
		for i, day := range c.days {
			// a later version has an earlier time
			at := time.Date(2026, 1, day, 12, 0, 0, 0, time.UTC).Add(-time.Duration(i) * time.Minute)
			rows = append(rows, Version{Version: i + 1, Created: at.Unix()})
		}
		for _, r := range Rules() {
			if r.Count = c.n; r.Name == c.rule {
				Sift(rows, []Rule{r}, time.UTC)
			}
		}
		var kept []int
		for _, r := range rows {
			if r.Keep {
				kept = append(kept, r.Version)
			}
			if r.Keep == (len(r.Against) > 0) || r.Keep != (len(r.Reasons) > 0) {
				t.Errorf("%s: version %d: kept %v, for %q, against %q", c.name, r.Version, r.Keep, r.Reasons, r.Against)
			}
		}
		if !slices.Equal(kept, c.keep) {
			t.Errorf("%s: %s %d of days %v keeps %v, want %v", c.name, c.rule, c.n, c.days, kept, c.keep)
		}
	}
}

// Each name keeps its own newest version.
func TestSiftByName(t *testing.T) {
	rows := []Version{{Name: "a", Version: 1}, {Name: "a", Version: 2}, {Name: "b", Version: 1}}
	rule := Rules()[0]
	rule.Count = 1
	Sift(rows, []Rule{rule}, time.UTC)
	if rows[0].Keep || !rows[1].Keep || !rows[2].Keep {
		t.Errorf("kept %+v", rows)
	}
}
