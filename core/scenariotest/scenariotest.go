// SPDX-License-Identifier: Apache-2.0

// Package scenariotest plays the text scenarios of tests: lines that say what happens, then ---- and what comes of it,
// to the next empty line. Behind # stands a comment. Only tests import it; with -update they write what comes of a
// scenario now into its file.
package scenariotest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what comes of the scenarios in testdata anew")

// Each runs a test for every file of a pattern; none is a failure.
func Each(t *testing.T, pattern string, test func(t *testing.T, file string)) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios in %s", pattern)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { test(t, file) })
	}
}

// Play reads a file. do carries out a line, given as its words; said is what came of it since it was asked last.
func Play(t *testing.T, file string, do func(words []string) error, said func() string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		fmt.Fprintln(&out, lines[i])
		if lines[i] != "----" {
			line, _, _ := strings.Cut(lines[i], "#")
			if words := strings.Fields(line); len(words) > 0 {
				if err := do(words); err != nil {
					t.Fatalf("%s:%d: %v", file, i+1, err)
				}
			}
			continue
		}
		var want strings.Builder
		for i++; i < len(lines) && lines[i] != ""; i++ {
			fmt.Fprintln(&want, lines[i])
		}
		got := said()
		if got != want.String() && !*update {
			t.Errorf("%s:%d: got\n%swant\n%s", file, i+1, got, want.String())
		}
		out.WriteString(got)
		if i < len(lines) {
			fmt.Fprintln(&out)
		}
	}
	if *update {
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Options takes the words of the form NAME=VALUE out of the others.
func Options(words []string) (rest []string, options map[string]string) {
	options = map[string]string{}
	return slices.DeleteFunc(slices.Clone(words), func(word string) bool {
		name, value, is := strings.Cut(word, "=")
		if is {
			options[name] = value
		}
		return is
	}), options
}

// Numbers reads 0-3,7; none where there is no text.
func Numbers(text string) (numbers []int, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		first, last, more := strings.Cut(part, "-")
		if !more {
			last = first
		}
		from, err := strconv.Atoi(first)
		if err != nil {
			return nil, err
		}
		to, err := strconv.Atoi(last)
		if err != nil {
			return nil, err
		}
		for n := from; n <= to; n++ {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}
