package main

import (
	"slices"
	"testing"
	"time"
)

func TestSift(t *testing.T) {
	zone := time.FixedZone("", 2*3600)
	// Version N is the Nth of these, oldest first; the third and fourth are of one day in that zone, but not in UTC.
	var versions []pruneRow
	for i, at := range []string{"2026-01-05 10:00", "2026-01-31 10:00", "2026-02-28 00:30", "2026-02-28 23:30", "2026-03-01 12:00", "2026-03-02 12:00", "2026-03-02 13:00"} {
		made, err := time.ParseInLocation("2006-01-02 15:04", at, zone)
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, pruneRow{Version: i + 1, Created: made.Unix()})
	}
	for _, c := range []struct {
		rule map[string]int
		keep []int
		why  map[int][]string
	}{
		{map[string]int{"last": 2}, []int{6, 7}, nil},
		{map[string]int{"last": 20}, []int{1, 2, 3, 4, 5, 6, 7}, nil},
		{map[string]int{"daily": 3}, []int{4, 5, 7}, map[int][]string{7: {"daily 2026-03-02"}}},
		{map[string]int{"weekly": 2}, []int{5, 7}, map[int][]string{5: {"weekly 2026-W09"}, 7: {"weekly 2026-W10"}}}, // Sunday, Monday
		{map[string]int{"monthly": 9}, []int{2, 4, 7}, nil},
		{map[string]int{"last": 1, "monthly": 2}, []int{4, 7}, map[int][]string{7: {"last", "monthly 2026-03"}}},
	} {
		rows := slices.Clone(versions)
		rules := []keepRule{}
		for _, r := range allRules() {
			if r.count = c.rule[r.name]; r.count > 0 {
				rules = append(rules, r)
			}
		}
		sift(rows, rules, zone)
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
