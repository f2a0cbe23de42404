// SPDX-License-Identifier: Apache-2.0

package retain

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Rule keeps the newest version of each of the last so many periods. With no period each version is one of its own.
type Rule struct {
	Name   string
	Count  int
	period func(time.Time) string // periods sort as their texts do
}

// Rules is every rule, keeping nothing yet.
func Rules() []Rule {
	return []Rule{
		{Name: "last"},
		{Name: "daily", period: func(t time.Time) string { return t.Format("2006-01-02") }},
		{Name: "weekly", period: func(t time.Time) string {
			year, week := t.ISOWeek()
			return fmt.Sprintf("%d-W%02d", year, week)
		}},
		{Name: "monthly", period: func(t time.Time) string { return t.Format("2006-01") }},
	}
}

// Version is what becomes of a version, and why.
type Version struct {
	Name    string    `json:"name"`
	Version int       `json:"version"`
	Size    core.Size `json:"size"`
	Created int64     `json:"created"`
	Placed  bool      `json:"placed"`
	Keep    bool      `json:"keep"`
	Reasons []string  `json:"reasons,omitempty"` // the rules that keep it
	Against []string  `json:"against,omitempty"` // where none does: why, a rule each
}

// Sift decides which versions stay, those of each name, which stand together, by themselves.
func Sift(versions []Version, rules []Rule, zone *time.Location) {
	for from, to := 0, 0; from < len(versions); from = to {
		for to = from; to < len(versions) && versions[to].Name == versions[from].Name; to++ {
		}
		siftOne(versions[from:to], rules, zone)
	}
}

// siftOne decides about the versions of one name. A clock may have been set back between two splits, and a zone may
// step back over midnight, so that periods need not come in the order of the versions: each is counted once, the last
// ones first.
func siftOne(versions []Version, rules []Rule, zone *time.Location) {
	for _, rule := range rules {
		newest := map[string]*Version{} // by period
		periods := make([]string, len(versions))
		for i := range versions {
			v := &versions[i]
			periods[i] = fmt.Sprintf("%20d", v.Version)
			if rule.period != nil {
				periods[i] = rule.period(time.Unix(v.Created, 0).In(zone))
			}
			if n := newest[periods[i]]; n == nil || n.Version < v.Version {
				newest[periods[i]] = v
			}
		}
		last := slices.Sorted(maps.Keys(newest))
		last = last[max(len(last)-rule.Count, 0):]
		for i := range versions {
			versions[i].judge(rule, periods[i], newest[periods[i]].Version, last)
		}
	}
	for i := range versions {
		if versions[i].Keep {
			versions[i].Against = nil
		}
	}
}

// judge notes what a rule says about a version of a period whose newest is given, and whose last periods are kept.
func (v *Version) judge(rule Rule, period string, newest int, last []string) {
	name := rule.Name
	if rule.period != nil {
		name += " " + period
	}
	switch {
	case newest != v.Version:
		v.Against = append(v.Against, fmt.Sprintf("%s: version %d is newer", name, newest))
	case !slices.Contains(last, period):
		v.Against = append(v.Against, fmt.Sprintf("%s: not among the newest %d", name, rule.Count))
	default:
		v.Keep = true
		v.Reasons = append(v.Reasons, name)
	}
}
