// SPDX-License-Identifier: Apache-2.0

package core

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Calendar is a rate that follows the clock on the wall, by the minute, week after week:
//
//	20MiB
//	22:00-06:00=50MiB,else=5MiB
//	tz=Europe/Berlin,mon-fri 08:00-18:00=1MiB,sat-sun=unlimited,else=10MiB
//
// The first window that holds a moment gives the rate; else gives it to all other moments, and must stand there unless
// the windows leave none. A window that passes midnight belongs to the day on which it begins. Without a time zone a
// calendar goes by the zone of the moments that it is asked about, which is the machine's own where they come from
// time.Now. Where clocks are put back a window can come twice in one night, and where they are put forward it can fail
// to come at all.
//
// The zero Calendar is unlimited at all times. Calendars are values: Equal compares them, and nothing changes one.
type Calendar struct {
	zone    *time.Location // nil: the zone of the moments asked about
	windows []window
	other   Rate // where no window holds the moment
	hasElse bool // it was written
	// what the windows come to: from each minute of the week on, in order, the first at 0; empty: other always
	week []step
}

// window is days and minutes of the day, both wrapping where the last is before the first.
type window struct {
	days        bool // false: every day
	first, last time.Weekday
	start, end  int // minutes; end up to 24:00, before start where the window passes midnight
	rate        Rate
}

// step is a rate and the minute of the week, from Sunday 00:00, at which it begins.
type step struct {
	minute int
	rate   Rate
}

const (
	dayMinutes  = 24 * 60
	weekMinutes = 7 * dayMinutes
	maxWindows  = 64
	// walked is how far Bytes and Seconds follow a calendar change by change; beyond, its mean stands for it.
	walked = 370 * 24 * time.Hour
)

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// Always is the calendar that never changes; 0 is unlimited.
func Always(r Rate) Calendar { return Calendar{other: r, hasElse: true} }

// ParseCalendar reads a rate as ParseRate does, the word unlimited, or a schedule as the type shows.
func ParseCalendar(s string) (Calendar, error) {
	c, err := parseCalendar(s)
	if err != nil {
		return Calendar{}, WithHint(Fail(CodeUsage, "bandwidth %q: %w", s, err),
			"write a rate, as 20MiB, or a calendar, as 22:00-06:00=50MiB,else=5MiB or tz=Europe/Berlin,mon-fri 08:00-18:00=1MiB,else=20MiB")
	}
	return c, nil
}

func parseCalendar(s string) (c Calendar, err error) {
	if !strings.ContainsAny(s, "=,") {
		c.other, err = parseAllowance(strings.TrimSpace(s))
		c.hasElse = true
		return c, err
	}
	parts := strings.Split(s, ",")
	if len(parts) > maxWindows {
		return c, fmt.Errorf("%d windows, %d are allowed", len(parts), maxWindows)
	}
	for i, part := range parts {
		when, value, ok := strings.Cut(part, "=")
		when, value = strings.TrimSpace(when), strings.TrimSpace(value)
		switch {
		case !ok:
			return c, fmt.Errorf("%q is not WHEN=RATE", strings.TrimSpace(part))
		case strings.EqualFold(when, "tz") && i > 0:
			return c, errors.New("the time zone comes first")
		case strings.EqualFold(when, "tz"):
			c.zone, err = parseZone(value)
		case c.hasElse:
			return c, errors.New("else comes last")
		case strings.EqualFold(when, "else"):
			c.hasElse = true
			c.other, err = parseAllowance(value)
		default:
			var w window
			if w, err = parseWindow(when); err == nil {
				w.rate, err = parseAllowance(value)
			}
			c.windows = append(c.windows, w)
		}
		if err != nil {
			return c, err
		}
	}
	return c, c.settle()
}

// settle works out the week from the windows; it refuses a calendar that says nothing of some minute.
func (c *Calendar) settle() error {
	if len(c.windows) == 0 {
		if !c.hasElse {
			return errors.New("no rate")
		}
		return nil
	}
	var edges []int // minutes of the week at which the rate may change
	for day := range 7 {
		for _, w := range c.windows {
			edges = append(edges, day*dayMinutes, day*dayMinutes+w.start, (day*dayMinutes+w.end)%weekMinutes)
		}
	}
	slices.Sort(edges)
	for _, minute := range slices.Compact(edges) {
		i := slices.IndexFunc(c.windows, func(w window) bool { return w.holds(minute) })
		rate := c.other
		switch {
		case i >= 0:
			rate = c.windows[i].rate
		case !c.hasElse:
			return fmt.Errorf("nothing is said of %s %s: add else=RATE", weekdays[minute/dayMinutes],
				clock(minute%dayMinutes))
		}
		if n := len(c.week); n == 0 || c.week[n-1].rate != rate {
			c.week = append(c.week, step{minute, rate})
		}
	}
	return nil
}

// holds reports whether the window is open at a minute of the week.
func (w window) holds(minute int) bool {
	day, at := time.Weekday(minute/dayMinutes), minute%dayMinutes
	switch {
	case w.start < w.end:
		return at >= w.start && at < w.end && w.on(day)
	case at >= w.start:
		return w.on(day)
	}
	return at < w.end && w.on((day+6)%7) // it began yesterday
}

func (w window) on(day time.Weekday) bool {
	switch {
	case !w.days:
		return true
	case w.first <= w.last:
		return day >= w.first && day <= w.last
	}
	return day >= w.first || day <= w.last
}

// parseAllowance reads a rate, or the word that lifts it.
func parseAllowance(s string) (Rate, error) {
	if strings.EqualFold(s, "unlimited") {
		return 0, nil
	}
	scale, number := rateScale(s)
	n, err := positive(number, scale)
	if err != nil {
		return 0, fmt.Errorf("rate %q: %w (write 20MiB, 100Mbit, KiB per second, or unlimited)", s, err)
	}
	return Rate(n), nil
}

func parseZone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("time zone %q: name one, as Europe/Berlin or UTC", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("time zone %q is not known", name)
	}
	return zone, nil
}

// parseWindow reads [DAY[-DAY]] [HH:MM-HH:MM].
func parseWindow(s string) (w window, err error) {
	fields := strings.Fields(s)
	w.end = dayMinutes
	if len(fields) > 0 && !strings.Contains(fields[0], ":") {
		first, last, isRange := strings.Cut(strings.ToLower(fields[0]), "-")
		if !isRange {
			last = first
		}
		from, to := slices.Index(weekdays, first), slices.Index(weekdays, last)
		if from < 0 || to < 0 {
			return w, fmt.Errorf("%q is neither a time (22:00-06:00), a day (mon, mon-fri), tz nor else", fields[0])
		}
		w.days, w.first, w.last = true, time.Weekday(from), time.Weekday(to)
		fields = fields[1:]
	}
	switch {
	case len(fields) > 1 || len(fields) == 0 && !w.days:
		return w, fmt.Errorf("%q is not a window: write 22:00-06:00, mon-fri or mon-fri 08:00-18:00", s)
	case len(fields) == 0:
		return w, nil
	}
	start, end, ok := strings.Cut(fields[0], "-")
	if !ok {
		return w, fmt.Errorf("window %q has no end", fields[0])
	}
	if w.start, err = parseClock(start); err == nil {
		w.end, err = parseClock(end)
	}
	switch {
	case err != nil:
		return w, err
	case w.start == dayMinutes:
		return w, fmt.Errorf("window %q begins at the end of a day: write 00:00", fields[0])
	case w.start == w.end:
		return w, fmt.Errorf("window %q is empty: a whole day is 00:00-24:00", fields[0])
	}
	return w, nil
}

// parseClock reads HH:MM, up to 24:00.
func parseClock(s string) (int, error) {
	hour, minute, ok := strings.Cut(s, ":")
	h, errH := strconv.ParseUint(hour, 10, 8)
	m, errM := strconv.ParseUint(minute, 10, 8)
	if !ok || errH != nil || errM != nil || len(hour) > 2 || len(minute) != 2 || m > 59 || h*60+m > dayMinutes {
		return 0, fmt.Errorf("time %q is not HH:MM, up to 24:00", s)
	}
	return int(h*60 + m), nil
}

func clock(minute int) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }

// String is the calendar as ParseCalendar reads it.
func (c Calendar) String() string {
	if c.zone == nil && len(c.windows) == 0 {
		return c.other.exact()
	}
	var parts []string
	if c.zone != nil {
		parts = append(parts, "tz="+c.zone.String())
	}
	for _, w := range c.windows {
		parts = append(parts, w.String()+"="+w.rate.exact())
	}
	if c.hasElse {
		parts = append(parts, "else="+c.other.exact())
	}
	return strings.Join(parts, ",")
}

func (w window) String() (s string) {
	if w.days {
		s = weekdays[w.first]
		if w.last != w.first {
			s += "-" + weekdays[w.last]
		}
		if w.start == 0 && w.end == dayMinutes {
			return s
		}
		s += " "
	}
	return s + clock(w.start) + "-" + clock(w.end)
}

// exact is the rate as ParseRate reads it, to the byte; 0 is unlimited.
func (r Rate) exact() string {
	if r == 0 {
		return "unlimited"
	}
	for _, u := range []struct {
		suffix string
		bytes  Rate
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"Gbit", 125_000_000}, {"Mbit", 125_000}, {"KiB", 1 << 10}, {"kbit", 125}} {
		if r%u.bytes == 0 {
			return strconv.FormatInt(int64(r/u.bytes), 10) + u.suffix
		}
	}
	return strconv.FormatFloat(float64(r)/1024, 'f', -1, 64) + "KiB"
}

// MarshalText and UnmarshalText write and read String's form.
func (c Calendar) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func (c *Calendar) UnmarshalText(text []byte) (err error) {
	*c, err = ParseCalendar(string(text))
	return err
}

// Equal reports whether two calendars are written alike.
func (c Calendar) Equal(d Calendar) bool { return c.String() == d.String() }

// Steady is the calendar's one rate, and whether it has but one.
func (c Calendar) Steady() (Rate, bool) {
	switch len(c.week) {
	case 0:
		return c.other, true
	case 1:
		return c.week[0].rate, true
	}
	return 0, false
}

// Limited reports whether there is a moment at which the calendar limits anything.
func (c Calendar) Limited() bool {
	if r, ok := c.Steady(); ok {
		return r != 0
	}
	return true // two different rates: one of them is a limit
}

// Lifted reports whether there is a moment at which the calendar limits nothing.
func (c Calendar) Lifted() bool {
	return len(c.week) == 0 && c.other == 0 || slices.ContainsFunc(c.week, func(s step) bool { return s.rate == 0 })
}

// At is the rate at a moment; 0 is unlimited.
func (c Calendar) At(t time.Time) Rate {
	if r, ok := c.Steady(); ok {
		return r
	}
	i, _ := c.stepAt(c.in(t))
	return c.week[i].rate
}

// Next is the first moment after t at which the rate is another than at t, and false where it never is.
func (c Calendar) Next(t time.Time) (time.Time, bool) {
	if _, steady := c.Steady(); steady {
		return time.Time{}, false
	}
	t = c.in(t)
	i, _ := c.stepAt(t)
	rate := c.week[i].rate
	for at, end := t, t.Add(15*24*time.Hour); at.Before(end); {
		if at = c.edge(at); c.At(at) != rate {
			return at, true
		}
	}
	return time.Time{}, false // the only other window is one that the zone's clocks leap over
}

// edge is the next moment at which the rate may change: the week's next step, or the zone's clocks being put forward or
// back.
func (c Calendar) edge(t time.Time) time.Time {
	i, minute := c.stepAt(t)
	next := weekMinutes + c.week[0].minute
	if i+1 < len(c.week) {
		next = c.week[i+1].minute
	}
	second := t.Second()
	at := t.Add(time.Duration(next-minute)*time.Minute - time.Duration(second)*time.Second - time.Duration(t.Nanosecond()))
	if _, leap := t.ZoneBounds(); !leap.IsZero() && leap.Before(at) {
		return leap.In(t.Location())
	}
	return at
}

// stepAt is the step of the week that a moment is in, and its minute of the week.
func (c Calendar) stepAt(t time.Time) (i, minute int) {
	minute = int(t.Weekday())*dayMinutes + t.Hour()*60 + t.Minute()
	i, ok := slices.BinarySearchFunc(c.week, minute, func(s step, m int) int { return s.minute - m })
	if !ok {
		i--
	}
	return i, minute
}

func (c Calendar) in(t time.Time) time.Time {
	if c.zone != nil {
		return t.In(c.zone)
	}
	return t
}

// Bytes is how many bytes may pass between two moments: MaxInt64 where some of the time is unlimited.
func (c Calendar) Bytes(from, to time.Time) Size {
	bytes := 0.0
	end, more := c.walk(from, func(at time.Time, seconds float64, rate Rate) bool {
		seconds = min(seconds, to.Sub(at).Seconds())
		if seconds > 0 && rate == 0 {
			bytes = math.Inf(1)
		}
		bytes += max(0, seconds) * float64(rate)
		return bytes < math.MaxInt64 && at.Add(time.Duration(seconds*1e9)).Before(to)
	})
	if more {
		bytes += to.Sub(end).Seconds() * c.weekly()
	}
	if bytes >= math.MaxInt64 {
		return math.MaxInt64
	}
	return Size(math.Round(bytes))
}

// Seconds is how long n bytes take from a moment on.
func (c Calendar) Seconds(n Size, from time.Time) float64 {
	if n <= 0 {
		return 0
	}
	took, left := 0.0, float64(n)
	_, more := c.walk(from, func(_ time.Time, seconds float64, rate Rate) bool {
		switch {
		case rate == 0:
			left = 0
		case left <= seconds*float64(rate):
			took += left / float64(rate)
			left = 0
		default:
			took += seconds
			left -= seconds * float64(rate)
		}
		return left > 0
	})
	if more {
		took += left / c.weekly()
	}
	return took
}

// walk calls each with every stretch of one rate from a moment on, while it returns true: where the stretch begins, how
// long it is in seconds (infinite for the last of all) and its rate. After a year it gives up and reports how far it
// came.
func (c Calendar) walk(from time.Time, each func(time.Time, float64, Rate) bool) (end time.Time, more bool) {
	for at := from; ; {
		next, ok := c.Next(at)
		if !ok {
			each(at, math.Inf(1), c.At(at))
			return at, false
		}
		if !each(at, next.Sub(at).Seconds(), c.At(at)) {
			return next, false
		}
		if at = next; at.Sub(from) > walked {
			return at, true
		}
	}
}

// weekly is the mean rate of a week, infinite where some of it is unlimited.
func (c Calendar) weekly() float64 {
	sum := 0.0
	for i, s := range c.week {
		end := weekMinutes
		if i+1 < len(c.week) {
			end = c.week[i+1].minute
		}
		if s.rate == 0 {
			return math.Inf(1)
		}
		sum += float64(end-s.minute) * float64(s.rate)
	}
	return sum / weekMinutes
}
