// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
)

// Engine runs the suite as subtests, one a rule. The engine must be configured, for the rules append to it.
func Engine(t *testing.T, e core.Engine) {
	t.Helper()
	EngineRules(t.Context(), e, func(r Rule) { r.test(t) })
}

// EngineRules tells of each rule whether the engine keeps it. It appends some hundred entries to scopes that begin with
// "test-", which stay there.
func EngineRules(ctx context.Context, e core.Engine, tell func(Rule)) {
	info, err := e.Describe(ctx)
	if err == nil {
		err = describes(info.Name, info.Version, info.Summary, info.Settings)
	}
	tell(Rule{"describes itself", err})
	for _, r := range []struct {
		name string
		do   func(context.Context, scoped) error
	}{
		{"a scope begins empty, and takes its first entry", begins},
		{"an entry is taken behind the number that there is only", comparesAndSwaps},
		{"reads what was appended, in its order and from anywhere", readsInOrder},
		{"takes any bytes, and 256 KiB of them", takesAnyBytes},
		{"returns less than was asked for where that is much", readsInParts},
		{"scopes are apart", scopesApart},
		{"of several at once one is taken", oneOfSeveral},
		{"those who try again are all taken, in one order", allInOneOrder},
	} {
		tell(Rule{r.name, r.do(ctx, scoped{e, "test-" + strings.ToLower(rand.Text())})})
	}
}

// scoped is a scope of an engine.
type scoped struct {
	core.Engine
	scope string
}

// append appends behind so many entries and wants the answer to be possible.
func (s scoped) append(ctx context.Context, after int64, entry string) (core.Appended, error) {
	a, err := s.Append(ctx, s.scope, after, []byte(entry))
	if err == nil {
		err = contract.CheckAppended(after, a)
	}
	if err != nil {
		return a, fmt.Errorf("append behind %d entries: %w", after, err)
	}
	return a, nil
}

// fill appends entries to a scope that has so many.
func (s scoped) fill(ctx context.Context, after int64, entries ...string) error {
	for i, entry := range entries {
		a, err := s.append(ctx, after+int64(i), entry)
		if err != nil {
			return err
		}
		if !a.OK {
			return fmt.Errorf("entry %d is not taken: it has %d", after+int64(i)+1, a.Entries)
		}
	}
	return nil
}

// all reads a scope from an entry on, a few at a time.
func (s scoped) all(ctx context.Context, after int64, limit int) (all []string, err error) {
	for {
		page, err := s.Read(ctx, s.scope, after, limit)
		if err == nil {
			err = contract.CheckEntries(limit, page)
		}
		if err != nil {
			return nil, fmt.Errorf("read behind %d entries: %w", after, err)
		}
		if len(page) == 0 {
			return all, nil
		}
		for _, entry := range page {
			all = append(all, string(entry))
		}
		after += int64(len(page))
	}
}

// has wants a scope to have these entries.
func (s scoped) has(ctx context.Context, want ...string) error {
	got, err := s.all(ctx, 0, 100)
	if err == nil && strings.Join(got, "\n") != strings.Join(want, "\n") {
		err = fmt.Errorf("it has %.200q, not %.200q", got, want)
	}
	return err
}

func begins(ctx context.Context, s scoped) error {
	if err := s.has(ctx); err != nil {
		return err
	}
	return errors.Join(s.fill(ctx, 0, "first"), s.has(ctx, "first"))
}

func comparesAndSwaps(ctx context.Context, s scoped) error {
	if a, err := s.append(ctx, 1, "too far"); err != nil || a.OK || a.Entries != 0 {
		return fmt.Errorf("one behind the first of none: %+v, %w", a, err)
	}
	if err := s.fill(ctx, 0, "a", "b"); err != nil {
		return err
	}
	for _, after := range []int64{0, 1, 3, 1 << 40} {
		if a, err := s.append(ctx, after, "no"); err != nil || a.OK || a.Entries != 2 {
			return fmt.Errorf("one behind %d of two: %+v, %w", after, a, err)
		}
	}
	return errors.Join(s.has(ctx, "a", "b"), s.fill(ctx, 2, "c"), s.has(ctx, "a", "b", "c"))
}

func readsInOrder(ctx context.Context, s scoped) error {
	var want []string
	for i := range 12 { // more than one digit
		want = append(want, fmt.Sprint("entry ", i))
	}
	if err := s.fill(ctx, 0, want...); err != nil {
		return err
	}
	for after := range len(want) + 2 {
		for _, limit := range []int{1, 5, 100} {
			got, err := s.all(ctx, int64(after), limit)
			if err != nil {
				return err
			}
			if rest := want[min(after, len(want)):]; strings.Join(got, ",") != strings.Join(rest, ",") {
				return fmt.Errorf("behind %d, %d at a time: %q, not %q", after, limit, got, rest)
			}
		}
	}
	return nil
}

func takesAnyBytes(ctx context.Context, s scoped) error {
	long := bytes.Repeat([]byte{0, 255, '\n', '/'}, int(core.MaxEngineEntry)/4)
	want := []string{"\x00", "\xff\xfe", "ä", string(long)}
	return errors.Join(s.fill(ctx, 0, want...), s.has(ctx, want...))
}

func readsInParts(ctx context.Context, s scoped) error {
	var want []string
	for i := range 6 {
		want = append(want, strings.Repeat(fmt.Sprint(i), int(core.MaxEngineEntry)))
	}
	if err := s.fill(ctx, 0, want...); err != nil {
		return err
	}
	page, err := s.Read(ctx, s.scope, 0, len(want))
	if size := len(bytes.Join(page, nil)); err != nil || len(page) == 0 || len(page) > 1 && size > contract.MaxEntries {
		return fmt.Errorf("%d entries of %d bytes together: want at most %d, %w", len(page), size, contract.MaxEntries, err)
	}
	return s.has(ctx, want...)
}

func scopesApart(ctx context.Context, s scoped) error {
	below, beside := scoped{s.Engine, s.scope + "/1"}, scoped{s.Engine, s.scope + "-1"}
	return errors.Join(s.fill(ctx, 0, "a"), below.fill(ctx, 0, "b"), beside.fill(ctx, 0, "c", "d"), s.fill(ctx, 1, "e"),
		s.has(ctx, "a", "e"), below.has(ctx, "b"), beside.has(ctx, "c", "d"))
}

func oneOfSeveral(ctx context.Context, s scoped) error {
	var won [8]bool
	err := atOnce(func(i int) error {
		a, err := s.append(ctx, 0, fmt.Sprint(i))
		won[i] = a.OK
		return err
	})
	if err != nil {
		return err
	}
	var winners []string
	for i, is := range won {
		if is {
			winners = append(winners, fmt.Sprint(i))
		}
	}
	if len(winners) != 1 {
		return fmt.Errorf("%d of 8 are told that theirs is the first entry", len(winners))
	}
	return s.has(ctx, winners...)
}

func allInOneOrder(ctx context.Context, s scoped) error {
	const each = 5
	err := atOnce(func(i int) error {
		for n, after := 0, int64(0); n < each; {
			a, err := s.append(ctx, after, fmt.Sprint(i, " ", n))
			if err != nil {
				return err
			}
			if after = a.Entries; a.OK {
				n++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	got, err := s.all(ctx, 0, 7)
	if err != nil {
		return err
	}
	next := map[int]int{}
	for _, entry := range got {
		var i, n int
		if _, err := fmt.Sscan(entry, &i, &n); err != nil || next[i] != n {
			return fmt.Errorf("entry %q comes where %d of it is next", entry, next[i])
		}
		next[i]++
	}
	if len(got) != 8*each {
		return fmt.Errorf("%d entries, not %d", len(got), 8*each)
	}
	return nil
}
