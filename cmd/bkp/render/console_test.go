// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

type row struct {
	Name string    `json:"name"`
	Size core.Size `json:"size"`
}

// A table and the JSON lines are made of the same values, and go where the file's bytes do not.
func TestListForPeopleAndScripts(t *testing.T) {
	rows, sum := []row{{"a\nb", 1}, {"c", core.MiB}}, row{"all", core.MiB + 1}
	for _, c := range []struct {
		name      string
		con       Console
		out, errs string
	}{
		{"a table", Console{}, "name      size\na\\nb       1 B\nc     1.00 MiB\n1.00 MiB in all\n", ""},
		{"JSON", Console{JSON: true}, `{"name":"a\nb","size":1}` + "\n" + `{"name":"c","size":1048576}` + "\n" +
			`{"message_type":"summary","name":"all","size":1048577}` + "\n", ""},
		{"beside a file's bytes", Console{DataOut: true}, "",
			"name      size\na\\nb       1 B\nc     1.00 MiB\n1.00 MiB in all\n"},
	} {
		var out, errs bytes.Buffer
		c.con.Stdout, c.con.Stderr = &out, &errs
		err := List(&c.con, rows, sum, func(t *Table) {
			t.Header("name", "size")
			for _, r := range rows {
				t.Row(r.Name, r.Size)
			}
			t.Line("%s in %s", sum.Size, sum.Name)
		})
		if err != nil || out.String() != c.out || errs.String() != c.errs {
			t.Errorf("%s: %v\nout %q\nerr %q", c.name, err, out.String(), errs.String())
		}
	}
}

// What ended a command stands in one place, with the command's name once, and the next step.
func TestFail(t *testing.T) {
	err := core.WithHint(core.Fail(core.CodeNoName, "no such name here: %s", "x\x1b[31m"), "bkp ls lists the names")
	for _, c := range []struct {
		con     Console
		command string
		err     error
		want    string
	}{
		{Console{}, "place", err, "bkp: place: no such name here: x\\x1b[31m\nhint: bkp ls lists the names\n"},
		{Console{}, "place", errors.New("place: no"), "bkp: place: no\n"},
		{Console{JSON: true, DataOut: true}, "place", err,
			`{"message_type":"exit_error","code":10,"message":"no such name here: x\u001b[31m",` +
				`"hint":"bkp ls lists the names"}` + "\n"},
	} {
		var out strings.Builder
		c.con.Stderr = &out
		c.con.Fail(c.command, c.err)
		if out.String() != c.want {
			t.Errorf("%q, want %q", out.String(), c.want)
		}
	}
}
