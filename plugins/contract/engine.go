// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"regexp"

	"github.com/bkp-tool/bkp/core"
)

// MaxEntries bounds the bytes of entries that an engine returns at once, but for one that is longer by itself.
const MaxEntries = 1 << 20

const maxScope = 256

var scopeRule = regexp.MustCompile(`^[a-z0-9-]+(/[a-z0-9-]+)*$`)

// CheckScope reports what is no name of a scope: words of a-z, 0-9 and -, with / between them, at most 256 bytes.
func CheckScope(scope string) error {
	if len(scope) > maxScope || !scopeRule.MatchString(scope) {
		return fmt.Errorf("scope %q: want words of a-z, 0-9 and -, with / between them, %d bytes at most", Clean(scope), maxScope)
	}
	return nil
}

// CheckAppend reports what no engine can be asked to append.
func CheckAppend(scope string, after int64, entry []byte) error {
	if err := CheckScope(scope); err != nil {
		return err
	}
	if after < 0 || len(entry) == 0 || len(entry) > int(core.MaxEngineEntry) {
		return fmt.Errorf("an entry of %d bytes behind %d others: want 1 to %d bytes", len(entry), after, core.MaxEngineEntry)
	}
	return nil
}

// CheckRead reports what no engine can be asked to return.
func CheckRead(scope string, after int64, limit int) error {
	if err := CheckScope(scope); err != nil {
		return err
	}
	if after < 0 || limit < 1 {
		return fmt.Errorf("%d entries behind %d others", limit, after)
	}
	return nil
}

// CheckAppended reports an answer that cannot be: where it was appended it is the next entry, and else there is another
// number of them.
func CheckAppended(after int64, a core.Appended) error {
	if a.Entries < 0 || a.OK && a.Entries != after+1 || !a.OK && a.Entries == after {
		return fmt.Errorf("behind %d entries it appended: %v, and there are %d", after, a.OK, a.Entries)
	}
	return nil
}

// CheckEntries reports entries that were not asked for, or cannot have been appended.
func CheckEntries(limit int, entries [][]byte) error {
	if len(entries) > limit {
		return fmt.Errorf("%d entries, and %d were asked for", len(entries), limit)
	}
	for i, e := range entries {
		if len(e) == 0 || len(e) > int(core.MaxEngineEntry) {
			return fmt.Errorf("entry %d of them has %d bytes", i, len(e))
		}
	}
	return nil
}
