// SPDX-License-Identifier: Apache-2.0

package line

import "testing"

func TestWithList(t *testing.T) {
	t.Parallel()
	const list = "peers = [\n  'wss://a:1-1MiB',\n  'wss://b:1-1MiB',\n]\n"
	for _, c := range [][2]string{
		{"", list},
		{"# mine\nlisten = \":1\"\n", list + "# mine\nlisten = \":1\"\n"},
		{"listen = \":1\"\npeers = \"wss://c:1-1MiB\" # old\n[job.x]\npeers = 3\n", "listen = \":1\"\n" + list + "[job.x]\npeers = 3\n"},
		{"label = [\n  \"peers = 3\",\n]\npeers = [ # they\n  \"a\", # first\n  \"b\",\n]\n# end\n",
			"label = [\n  \"peers = 3\",\n]\n" + list + "# end\n"},
		{"x = '''\npeers = 1\n'''\n[links]\n\"peers\" = 1\n", list + "x = '''\npeers = 1\n'''\n[links]\n\"peers\" = 1\n"},
	} {
		got, err := WithList([]byte(c[0]), "peers", []string{"wss://a:1-1MiB", "wss://b:1-1MiB"})
		if err != nil || string(got) != c[1] {
			t.Errorf("%v: %q became\n%s\nwant\n%s", err, c[0], got, c[1])
		}
	}
	if _, err := WithList([]byte("x = [\n"), "peers", nil); err == nil {
		t.Error("what is no TOML is edited")
	}
}
