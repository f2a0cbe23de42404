// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/urfave/cli/v2"
)

// named finds where a text names a command of bkp: after ": ", "with ", a quote, at the beginning of a line, behind a
// pipe or "&&".
var named = regexp.MustCompile("(?:^|[|&:;(\"'`] ?|with |by |by: |\\$ |sudo )bkp ([a-z][a-z-]*)")

// notCommand is what names a format or a key.
var notCommand = regexp.MustCompile(`^bkp( [a-z]+)+ v?\d+|^bkp (v|kept|pin|condemned|index)\b`)

// lookAt reads each command that a text names, as if a person gave it, and counts them.
func lookAt(t *testing.T, where, text string) (found int) {
	t.Helper()
	if notCommand.MatchString(text) {
		return 0
	}
	for l := range strings.SplitSeq(text, "\n") {
		l = strings.TrimSpace(l)
		for _, at := range named.FindAllStringSubmatchIndex(l, -1) {
			if word := l[at[2]:at[3]]; word == "help" || isProse(word) {
				continue
			}
			found++
			con := &render.Console{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard}
			words := shellWords(l[at[2]:])
			if err := checkNamed(newApp(con), words); err != nil {
				t.Errorf("%s: bkp %s: %v", where, strings.Join(words, " "), err)
			}
		}
	}
	return found
}

// shellWords is the words of the command at the beginning of a line of sh or of a sentence: up to what ends a command,
// a comment, a quote that was open before, or a word at which the sentence goes on or ends.
func shellWords(text string) (words []string) {
	var word strings.Builder
	inWord := false
	end := func() bool {
		full := word.String()
		if plain := strings.TrimRight(full, ".,?:"); inWord && plain != "" {
			words = append(words, plain)
			inWord = plain == full
		}
		ended := word.Len() > 0 && !inWord
		word.Reset()
		inWord = false
		return ended
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\'' || c == '"':
			length := strings.IndexByte(text[i+1:], c)
			if length < 0 {
				end()
				return words
			}
			word.WriteString(text[i+1 : i+1+length])
			i, inWord = i+1+length, true
		case c == ' ' || c == '\t':
			if end() {
				return words
			}
		case strings.IndexByte("|;&<>)`\\", c) >= 0 || c == '#' && !inWord:
			end()
			return words
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	end()
	return words
}

// Every command that a hint, a help text or an example names is one, with flags that it knows.
func TestNamedCommandsExist(t *testing.T) {
	found := 0
	for _, root := range []string{".", "../../core", "../../plugins"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if b, ok := n.(*ast.BinaryExpr); ok && b.Op == token.ADD {
					found += lookAt(t, path, joined(b))
					return false
				}
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
					found += lookAt(t, path, joined(l))
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for word, hint := range line.Elsewhere() {
		found += lookAt(t, "elsewhere "+word, hint)
	}
	if found < 100 {
		t.Errorf("found %d named commands: does the test look in the right place?", found)
	}
}

// pages are what people read who have not read the code.
var pages = []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "core/README.md", "plugins/README.md",
	"scripts/README.md"}

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	fence    = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	codeSpan = regexp.MustCompile("`([^`]+)`")
	linkTo   = regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]*))?\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.*)$`)
	aFlag    = regexp.MustCompile(`^--([a-z-]+)`)
	// inTree is a path that names a file or directory of the tree; a word in capitals stands for any.
	inTree = regexp.MustCompile(`^(?:core|cmd|plugins|scripts)/[a-z0-9@_./-]+$`)
)

// Every command and flag that a page names exists, be it in a block or in a sentence, settings can be read, and paths
// and links lead somewhere.
func TestPagesHold(t *testing.T) {
	for _, name := range pages {
		text := page(t, name)
		commands := 0
		for _, m := range fence.FindAllStringSubmatch(text, -1) {
			if m[1] == "toml" {
				checkSettings(t, name, m[2])
			}
			commands += lookAt(t, name, m[2])
		}
		text = fence.ReplaceAllString(text, "")
		var prose strings.Builder
		for l := range strings.Lines(text) {
			if strings.HasPrefix(l, "    ") { // a block
				commands += lookAt(t, name, l)
			} else {
				prose.WriteString(l)
			}
		}
		for _, m := range codeSpan.FindAllStringSubmatch(prose.String(), -1) {
			code := strings.Join(strings.Fields(m[1]), " ")
			if strings.HasPrefix(code, "bkp ") {
				commands += lookAt(t, name, code)
			}
			if flag := aFlag.FindStringSubmatch(code); flag != nil && !hasFlag(newApp(&render.Console{}).Commands, flag[1]) {
				t.Errorf("%s: no command has a flag --%s", name, flag[1])
			}
			if inTree.MatchString(code) {
				exists(t, name, code)
			}
		}
		for _, m := range linkTo.FindAllStringSubmatch(prose.String(), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			to := name
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(name), m[1])
			}
			exists(t, name, to)
			if m[2] != "" && !slices.Contains(anchors(page(t, to)), m[2]) {
				t.Errorf("%s: %s has no heading #%s", name, to, m[2])
			}
		}
		if commands == 0 && strings.HasSuffix(name, "README.md") && name != "scripts/README.md" {
			t.Errorf("%s names no command: does the test look in the right place?", name)
		}
	}
}

// anchors are the names under which GitHub lets the headings of a page be linked to.
func anchors(text string) (names []string) {
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		names = append(names, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return names
}

// hasFlag reports whether any of the commands, or of those below them, has the flag.
func hasFlag(commands []*cli.Command, name string) bool {
	return name == "help" || slices.ContainsFunc(commands, func(c *cli.Command) bool {
		return line.FindFlag(c.Flags, name) != nil || hasFlag(c.Subcommands, name)
	})
}

func exists(t *testing.T, page, path string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join("../..", path)); err != nil {
		t.Errorf("%s: %v", page, err)
	}
}

// checkSettings reads a config.toml as any command does.
func checkSettings(t *testing.T, page, text string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if code := run([]string{"bkp", "config", "show", "--data", dir}, strings.NewReader(""), io.Discard, &said); code != 0 {
		t.Errorf("%s: config.toml: %s\n%s", page, &said, text)
	}
}

// scripts/README.md tells of every script and every target of make, and of none that there is not.
func TestScriptsAreTold(t *testing.T) {
	told := map[string]bool{}
	for _, m := range codeSpan.FindAllStringSubmatch(page(t, "scripts/README.md"), -1) {
		word, _, _ := strings.Cut(strings.TrimPrefix(m[1], "make "), " ")
		told[word] = true
		if target, is := strings.CutPrefix(m[1], "make "); is {
			target, _, _ = strings.Cut(target, " ")
			if !strings.Contains(page(t, "Makefile"), "\n"+target+":") {
				t.Errorf("scripts/README.md: there is no make %s", target)
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):.*## `).FindAllStringSubmatch(page(t, "Makefile"), -1) {
		if !told[m[1]] {
			t.Errorf("scripts/README.md does not tell of make %s", m[1])
		}
	}
	scripts, err := os.ReadDir("../../scripts")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scripts {
		if name := s.Name(); name != "README.md" && !told["scripts/"+name] {
			t.Errorf("scripts/README.md does not tell of scripts/%s", name)
		}
	}
}

// joined is a string that stands in pieces.
func joined(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(e.Value)
		return text
	case *ast.BinaryExpr:
		return joined(e.X) + joined(e.Y)
	}
	return ""
}

// checkNamed reads a line as a person would give it.
func checkNamed(app *cli.App, words []string) error {
	_, err := line.Parse(app, append([]string{"bkp"}, words...))
	return err
}

// isProse tells words that follow the program's name in sentences.
func isProse(word string) bool {
	switch word {
	case "is", "and", "or", "itself", "splits", "knows", "speaks", "starts", "runs", "keeps", "needs", "has", "gives", "of",
		"v", "in", "on", "at", "seal", "gear", "alias", "nonce", "can", "may", "does", "with", "there":
		return true
	}
	return false
}

// Every test that SECURITY.md names as what shows a line stands in the room before it, and every attack of
// TestStrangers that it counts on has its number there.
func TestSecurityNamesTests(t *testing.T) {
	named := regexp.MustCompile("((?:core|cmd/bkp)(?:/[a-z]+)?) |`((?:Test|Fuzz)[A-Za-z0-9]+)(?:/([a-z-]+))?`((?: [0-9]+,?| to| and)*)|`(testdata/[^`]+)`")
	strangers := page(t, "core/commands/strangers_test.go")
	found := 0
	for l := range strings.Lines(page(t, "SECURITY.md")) {
		cells := strings.Split(l, "|")
		if len(cells) < 6 {
			continue
		}
		room := "core/commands"
		for _, m := range named.FindAllStringSubmatch(cells[4], -1) {
			switch {
			case m[1] != "":
				room = m[1]
				continue
			case m[5] != "":
				exists(t, "SECURITY.md", filepath.Join(room, m[5]))
			case m[3] != "":
				exists(t, "SECURITY.md", filepath.Join(room, "testdata", m[3]+".txtar"))
			default:
				files, _ := filepath.Glob(filepath.Join("../..", room, "*_test.go"))
				if !slices.ContainsFunc(files, func(f string) bool {
					text, err := os.ReadFile(f)
					return err == nil && strings.Contains(string(text), "\nfunc "+m[2]+"(")
				}) {
					t.Errorf("SECURITY.md: there is no %s in %s", m[2], room)
				}
			}
			for _, n := range regexp.MustCompile("[0-9]+").FindAllString(m[4], -1) {
				if m[2] == "TestStrangers" && !strings.Contains(strangers, "\n\t{"+n+", ") {
					t.Errorf("SECURITY.md: TestStrangers has no attack %s", n)
				}
			}
			found++
		}
	}
	if found < 50 {
		t.Errorf("%d tests are found in SECURITY.md: does the test look in the right place?", found)
	}
}
