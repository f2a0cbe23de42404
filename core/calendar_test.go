// SPDX-License-Identifier: Apache-2.0

package core

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests name zones that a machine may not have

	"pgregory.net/rapid"
)

func calendar(t testing.TB, s string) Calendar {
	t.Helper()
	c, err := ParseCalendar(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func moment(t testing.TB, zone, s string) time.Time {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.ParseInLocation("2006-01-02 15:04:05", s, loc)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// 2026-11-23 is a Monday.
func TestCalendarAt(t *testing.T) {
	const mib = Rate(MiB)
	for _, c := range []struct {
		calendar, at string
		want         Rate
	}{
		{"20MiB", "2026-11-23 12:00:00", 20 * mib},
		{"1024", "2026-11-23 12:00:00", mib},
		{"unlimited", "2026-11-23 12:00:00", 0},
		{"22:00-06:00=50MiB,else=5MiB", "2026-11-23 21:59:59", 5 * mib},
		{"22:00-06:00=50MiB,else=5MiB", "2026-11-23 22:00:00", 50 * mib},
		{"22:00-06:00=50MiB,else=5MiB", "2026-11-24 05:59:59", 50 * mib},
		{"22:00-06:00=50MiB,else=5MiB", "2026-11-24 06:00:00", 5 * mib},
		{"00:00-12:00=1MiB,12:00-24:00=2MiB", "2026-11-23 23:59:59", 2 * mib},
		{"00:00-12:00=1MiB,12:00-24:00=2MiB", "2026-11-24 00:00:00", 1 * mib},
		{" Mon-Fri  8:00-18:00 = 1MiB , Else = Unlimited ", "2026-11-23 08:00:00", mib},
		{"mon-fri 08:00-18:00=1MiB,else=unlimited", "2026-11-22 08:00:00", 0},
		// the first window that holds a moment counts
		{"mon=1MiB,09:00-10:00=2MiB,else=3MiB", "2026-11-23 09:30:00", 1 * mib},
		{"09:00-10:00=2MiB,mon=1MiB,else=3MiB", "2026-11-23 09:30:00", 2 * mib},
		// a window belongs to the day on which it begins
		{"fri 22:00-06:00=9MiB,else=1MiB", "2026-11-28 05:00:00", 9 * mib}, // Saturday
		{"fri 22:00-06:00=9MiB,else=1MiB", "2026-11-27 05:00:00", 1 * mib}, // Friday
		{"sat 22:00-06:00=9MiB,else=1MiB", "2026-11-29 05:00:00", 9 * mib}, // Sunday, past the week's own end
		{"fri-mon=9MiB,else=1MiB", "2026-11-29 05:00:00", 9 * mib},
		{"fri-mon=9MiB,else=1MiB", "2026-11-24 00:00:00", 1 * mib},
		{"tz=Asia/Tokyo,09:00-10:00=2MiB,else=3MiB", "2026-11-23 00:30:00", 2 * mib},
		{"sun-sat=2MiB", "2026-11-23 00:30:00", 2 * mib},
	} {
		cal := calendar(t, c.calendar)
		if got := cal.At(moment(t, "UTC", c.at)); got != c.want {
			t.Errorf("%s at %s: %s, want %s", c.calendar, c.at, got, c.want)
		}
		if again := calendar(t, cal.String()); !again.Equal(cal) || again.At(moment(t, "UTC", c.at)) != c.want {
			t.Errorf("%s written as %s reads otherwise", c.calendar, cal)
		}
	}
}

func TestCalendarString(t *testing.T) {
	for in, want := range map[string]string{
		"102400":                               "100MiB",
		"100Mbit":                              "100Mbit",
		"8kbit":                                "8kbit",
		"1.5MiB":                               "1536KiB",
		"unlimited":                            "unlimited",
		"else=5MiB":                            "5MiB",
		"22:00-6:00=50MiB, else=5MiB":          "22:00-06:00=50MiB,else=5MiB",
		"tz=UTC,else=1GiB":                     "tz=UTC,else=1GiB",
		"sat-sat 00:00-24:00=1Gbit,else=1001K": "",
		"sat-sat 00:00-24:00=1Gbit,else=0.1":   "sat=1Gbit,else=0.099609375KiB",
	} {
		c, err := ParseCalendar(in)
		if got := c.String(); err == nil && got != want || (err != nil) != (want == "") {
			t.Errorf("%q is written %q (%v), want %q", in, got, err, want)
		}
		text, _ := c.MarshalText()
		if err == nil && (c.UnmarshalText(text) != nil || c.String() != want) {
			t.Errorf("%q: its text reads as %q", in, c)
		}
	}
}

// Every way to get a calendar wrong has words of its own, and the next step.
func TestCalendarRefuses(t *testing.T) {
	for in, words := range map[string]string{
		"":                                   "missing",
		",":                                  "not WHEN=RATE",
		"20MB":                               "not a number",
		"0":                                  "above zero",
		"22:00-06:00=50MiB":                  "nothing is said of sun 06:00: add else=RATE",
		"mon-fri=1MiB,sun=2MiB":              "nothing is said of sat 00:00",
		"tz=UTC":                             "no rate",
		"tz=,else=1MiB":                      "name one",
		"tz=Local,else=1MiB":                 "name one",
		"tz=Middle/Earth,else=1MiB":          "not known",
		"tz=../../etc/passwd,else=1MiB":      "not known",
		"else=1MiB,tz=UTC":                   "comes first",
		"else=1MiB,mon=2MiB":                 "else comes last",
		"else=1MiB,else=2MiB":                "else comes last",
		"22:00-22:00=1MiB,else=2MiB":         "empty",
		"24:00-06:00=1MiB,else=2MiB":         "write 00:00",
		"22:00-24:01=1MiB,else=2MiB":         "not HH:MM",
		"22:60-23:00=1MiB,else=2MiB":         "not HH:MM",
		"22-23=1MiB,else=2MiB":               "neither a time",
		"22:00=1MiB,else=2MiB":               "no end",
		"22:00-+6:00=1MiB,else=2MiB":         "not HH:MM",
		"mo 22:00-23:00=1MiB,else=2MiB":      "neither a time",
		"mon tue 22:00-23:00=1MiB,else=2":    "not a window",
		"=1MiB,else=2MiB":                    "not a window",
		"mon=,else=2MiB":                     "missing",
		"mon=-5,else=2MiB":                   "above zero",
		"mon=off,else=2MiB":                  "not a number",
		"mon=1MiB=2MiB,else=2MiB":            "not a number",
		strings.Repeat("mon=1MiB,", 64) + "": "65 windows",
	} {
		_, err := ParseCalendar(in)
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v, want words %q", in, err, words)
			continue
		}
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeUsage || e.Hint == "" {
			t.Errorf("%q: %#v is no usage error with a hint", in, err)
		}
	}
}

// Clocks in Berlin go from 02:00 to 03:00 on 2026-03-29 and from 03:00 back to 02:00 on 2026-10-25; both are Sundays.
func TestCalendarWhereClocksChange(t *testing.T) {
	const night = "tz=Europe/Berlin,22:00-06:00=50,else=5"
	const gap = "tz=Europe/Berlin,02:30-02:45=9,else=1"
	kib := func(n int) Size { return Size(n) * KiB }
	for _, c := range []struct {
		calendar, from, to string
		bytes              Size
	}{
		{night, "2026-03-27 22:00:00", "2026-03-28 06:00:00", kib(8 * 3600 * 50)},
		{night, "2026-03-28 22:00:00", "2026-03-29 06:00:00", kib(7 * 3600 * 50)}, // the short night
		{night, "2026-10-24 22:00:00", "2026-10-25 06:00:00", kib(9 * 3600 * 50)}, // the long one
		{night, "2026-10-24 12:00:00", "2026-10-25 12:00:00", kib(9*3600*50 + 16*3600*5)},
		{gap, "2026-03-28 00:00:00", "2026-03-29 00:00:00", kib(86400 + 900*8)},
		{gap, "2026-03-29 00:00:00", "2026-03-30 00:00:00", kib(23 * 3600)},         // it fails to come
		{gap, "2026-10-25 00:00:00", "2026-10-26 00:00:00", kib(25*3600 + 2*900*8)}, // it comes twice
	} {
		cal, from, to := calendar(t, c.calendar), moment(t, "Europe/Berlin", c.from), moment(t, "Europe/Berlin", c.to)
		if got := cal.Bytes(from, to); got != c.bytes {
			t.Errorf("%s from %s to %s: %d bytes, want %d", c.calendar, c.from, c.to, got, c.bytes)
		}
		// The same moments told in another zone.
		if got := cal.Bytes(from.UTC(), to.In(time.FixedZone("", 7*3600+1))); got != c.bytes {
			t.Errorf("%s, asked from elsewhere: %d bytes, want %d", c.calendar, got, c.bytes)
		}
		if s := cal.Seconds(c.bytes, from); math.Abs(s-to.Sub(from).Seconds()) > 1e-6 {
			t.Errorf("%s from %s: %d bytes take %g s, want %g", c.calendar, c.from, c.bytes, s, to.Sub(from).Seconds())
		}
	}
	for _, c := range [][3]string{
		{night, "2026-03-28 21:59:59.5", "2026-03-28 22:00:00"},
		{night, "2026-03-28 22:00:00", "2026-03-29 06:00:00"},
		{gap, "2026-03-28 02:45:00", "2026-03-30 02:30:00"},
	} {
		at, ok := calendar(t, c[0]).Next(moment(t, "Europe/Berlin", c[1]))
		if want := moment(t, "Europe/Berlin", c[2]); !ok || !at.Equal(want) {
			t.Errorf("%s: after %s comes %s, want %s", c[0], c[1], at, want)
		}
	}
	// In the hour that comes twice, the window's second coming follows an hour after its first.
	first := moment(t, "Europe/Berlin", "2026-10-25 00:00:00").Add(2*time.Hour + 45*time.Minute)
	if again, ok := calendar(t, gap).Next(first); !ok || again.Sub(first) != 45*time.Minute {
		t.Errorf("after %s comes %s", first, again)
	}
	if at, ok := calendar(t, "tz=Europe/Berlin,02:30-02:45=7,else=7").Next(first); ok {
		t.Errorf("a calendar of one rate changes at %s", at)
	}
}

func TestCalendarOverLongTimes(t *testing.T) {
	from := moment(t, "UTC", "2026-11-23 00:00:00")
	night := calendar(t, "22:00-06:00=50MiB,else=5MiB") // a mean of 20 MiB/s
	if s, want := night.Seconds(20*365*86400*MiB*5, from), 5*365*86400.0; math.Abs(s-want) > 86400 {
		t.Errorf("five years of bytes take %g s, want about %g", s, want)
	}
	slow := calendar(t, "mon=1,else=0.001")
	if s := slow.Seconds(1<<60, from); math.IsNaN(s) || s < 1e15 {
		t.Errorf("an exbibyte at next to nothing takes %g s", s)
	}
	if n := calendar(t, "mon=1MiB,else=unlimited").Bytes(from, from.AddDate(0, 0, 2)); n != math.MaxInt64 {
		t.Errorf("through an unlimited day pass %d bytes", n)
	}
	if n := calendar(t, "mon=1MiB,else=unlimited").Bytes(from, from.AddDate(0, 0, 1)); n != 86400*MiB {
		t.Errorf("on the day before it pass %d bytes", n)
	}
	if s := calendar(t, "mon=1MiB,else=unlimited").Seconds(1<<60, from); s != 86400 {
		t.Errorf("an exbibyte waits %g s for the unlimited day", s)
	}
	if s, n := (Calendar{}).Seconds(1<<60, from), (Calendar{}).Bytes(from, from.Add(1)); s != 0 || n != math.MaxInt64 {
		t.Errorf("without a calendar: %g s, %d bytes", s, n)
	}
	if n := night.Bytes(from, from.Add(-time.Hour)); n != 0 {
		t.Errorf("backwards in time pass %d bytes", n)
	}
	if s := night.Seconds(0, from); s != 0 {
		t.Errorf("nothing takes %g s", s)
	}
}

var drawnCalendar = rapid.Custom(func(t *rapid.T) string {
	rate := rapid.SampledFrom([]string{"1", "7", "50", "1MiB"})
	parts := []string{}
	if rapid.Bool().Draw(t, "zone") {
		parts = append(parts, "tz="+rapid.SampledFrom([]string{"Europe/Berlin", "America/New_York",
			"Australia/Lord_Howe", "Asia/Kathmandu"}).Draw(t, "tz"))
	}
	for range rapid.IntRange(0, 4).Draw(t, "windows") {
		when := ""
		if rapid.Bool().Draw(t, "days") {
			day := rapid.SampledFrom(weekdays)
			when = day.Draw(t, "first") + "-" + day.Draw(t, "last") + " "
		}
		start := rapid.IntRange(0, dayMinutes-1).Draw(t, "start")
		end := rapid.IntRange(0, dayMinutes).Filter(func(m int) bool { return m != start }).Draw(t, "end")
		parts = append(parts, when+clock(start)+"-"+clock(end)+"="+rate.Draw(t, "rate"))
	}
	return strings.Join(append(parts, "else="+rate.Draw(t, "other")), ",")
})

// TestCalendarAgainstASlowTwin asks the rate of every minute, one after another, by the windows alone.
func TestCalendarAgainstASlowTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawnCalendar.Draw(t, "calendar")
		c, err := ParseCalendar(s)
		if err != nil {
			t.Fatal(err)
		}
		year := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		from := year.Add(time.Duration(rapid.IntRange(0, 365*dayMinutes).Draw(t, "from")) * time.Minute)
		minutes := rapid.IntRange(1, 3*dayMinutes).Draw(t, "minutes")
		sum, changed := Size(0), time.Time{}
		for at := from; at.Before(from.Add(time.Duration(minutes) * time.Minute)); at = at.Add(time.Minute) {
			rate, wall := c.other, c.in(at)
			for _, w := range c.windows {
				if w.holds(int(wall.Weekday())*dayMinutes + wall.Hour()*60 + wall.Minute()) {
					rate = w.rate
					break
				}
			}
			if got := c.At(at); got != rate {
				t.Fatalf("at %s: %s, want %s", at, got, rate)
			}
			if rate != c.At(from) && changed.IsZero() {
				changed = at
			}
			sum += Size(rate) * 60
		}
		to := from.Add(time.Duration(minutes) * time.Minute)
		if got := c.Bytes(from, to); got != sum {
			t.Fatalf("from %s to %s: %d bytes, want %d", from, to, got, sum)
		}
		if got := c.Seconds(sum, from); math.Abs(got-float64(minutes)*60) > 1e-3 {
			t.Fatalf("%d bytes take %g s, want %d", sum, got, minutes*60)
		}
		next, ok := c.Next(from)
		if ok && !next.After(from) {
			t.Fatalf("after %s comes %s", from, next)
		}
		if !changed.IsZero() && (!ok || !next.Equal(changed)) || changed.IsZero() && ok && next.Before(to) {
			t.Fatalf("after %s comes %s (%v), want %s", from, next, ok, changed)
		}
	})
}

func FuzzParseCalendar(f *testing.F) {
	for _, s := range []string{"20MiB", "22:00-06:00=50MiB,else=5MiB",
		"tz=Europe/Berlin,mon-fri 08:00-18:00=1MiB,sat-sun=unlimited,else=10Mbit",
		"fri 22:00-06:00=0.1,else=1e3", "00:00-24:00=7", "=,=", "tz=UTC,sat-mon=1,tue-fri 00:00-24:00=2"} {
		f.Add(s)
	}
	at := time.Date(2026, 10, 24, 23, 30, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCalendar(s)
		if err != nil {
			return
		}
		again, err := ParseCalendar(c.String())
		if err != nil || again.String() != c.String() {
			t.Fatalf("%q written as %q reads as %q: %v", s, c, again, err)
		}
		if next, ok := c.Next(at); ok && (!next.After(at) || c.At(next) == c.At(at)) {
			t.Fatalf("%q: after %s comes %s", s, at, next)
		}
		if day := at.Add(24 * time.Hour); c.Bytes(at, day) < 0 || c.At(day) < 0 {
			t.Fatalf("%q: less than nothing passes", s)
		}
	})
}
