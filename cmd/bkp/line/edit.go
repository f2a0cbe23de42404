// SPDX-License-Identifier: Apache-2.0

package line

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// WithList is a file of settings in which a key that stands in no table has a list of values. What stood there of it
// goes; all else stays as it was written.
func WithList(text []byte, key string, values []string) ([]byte, error) {
	var quoted []string
	for _, v := range values {
		quoted = append(quoted, "  "+Quote(v)+",\n")
	}
	list := []string{key + " = [\n" + strings.Join(quoted, "") + "]\n"}
	ours := regexp.MustCompile(`^\s*"?` + regexp.QuoteMeta(key) + `"?\s*=`)
	lines := strings.SplitAfter(string(text), "\n")
	for i := 0; i < len(lines); {
		bare := strings.TrimSpace(lines[i])
		if strings.HasPrefix(bare, "[") {
			break // tables begin
		}
		end, err := statement(lines[i:])
		if err != nil {
			return nil, err
		}
		if ours.MatchString(lines[i]) {
			return []byte(strings.Join(slices.Concat(lines[:i], list, lines[i+end:]), "")), nil
		}
		i += end
	}
	return []byte(strings.Join(append(list, lines...), "")), nil
}

// statement is how many lines the first statement takes: what it says may go over several.
func statement(lines []string) (int, error) {
	for end := 1; end <= len(lines); end++ {
		var any map[string]any
		if toml.Unmarshal([]byte(strings.Join(lines[:end], "")), &any) == nil {
			return end, nil
		}
	}
	return 0, errors.New("the file of settings cannot be read")
}
