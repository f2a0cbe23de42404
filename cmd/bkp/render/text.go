// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Counted writes a number and its noun: "1 chunk", "2 chunks".
func Counted[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Versioned writes a name and version as a person gives them.
func Versioned(name string, version int) string {
	return fmt.Sprintf("%s@%d", core.Printable(name), version)
}

// Day is a date and time of a signed word, in UTC.
func Day(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05Z") }

// Moment is a time that stands as Unix seconds; 0 is none.
func Moment(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0)
}

// labelText writes labels as k=v, in order.
func labelText(labels map[string]string) string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		words = append(words, k+"="+labels[k])
	}
	return strings.Join(words, " ")
}

// cleanLines is core.Printable for text of several lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = core.Printable(l)
	}
	return strings.Join(lines, "\n")
}

// Cell writes one value for a person; an unknown one is a dash.
func Cell(v any) string {
	switch v := v.(type) {
	case string:
		return core.Printable(v)
	case bool:
		return map[bool]string{true: "yes", false: "no"}[v]
	case core.Size:
		return v.String()
	case core.Rate:
		if v == 0 {
			return "-"
		}
		return v.String()
	case core.ID:
		if v.IsZero() {
			return "here"
		}
		return v.Short()
	case Seconds:
		return v.String()
	case time.Time:
		if v.IsZero() {
			return "-"
		}
		return v.Local().Format("2006-01-02 15:04:05")
	case float64:
		return fmt.Sprintf("%.3g", v)
	case map[string]string:
		return core.Printable(labelText(v))
	}
	return core.Printable(fmt.Sprint(v))
}

// Seconds is a span of time as a person reads it.
type Seconds float64

func (s Seconds) String() string {
	n := max(0, float64(s)) // a clock that was set back makes no time negative
	switch {
	case math.IsInf(n, 0) || math.IsNaN(n):
		return "never"
	case n > 0 && n < 0.001:
		return fmt.Sprintf("%.2f ms", n*1000)
	case n < 0.0995:
		return fmt.Sprintf("%.0f ms", n*1000)
	case n < 99.5:
		return fmt.Sprintf("%.1f s", n)
	}
	return time.Duration(n * float64(time.Second)).Round(time.Second).String()
}

// duration is a measured time; zero was not measured.
func duration(s float64) any {
	if s == 0 {
		return "-"
	}
	return Seconds(s)
}
