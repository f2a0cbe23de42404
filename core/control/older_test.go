// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// TestOlderNode: a command meets the running node of a release that spoke lines, and has an error of its own from it.
func TestOlderNode(t *testing.T) {
	socket := answering(t, func(conn net.Conn) {
		if _, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
			io.WriteString(conn,
				`{"type":"LOCAL_RESULT","code":2,"error":"local call: decode: invalid character 'P'"}`+"\n")
		}
	})
	var out strings.Builder
	for _, args := range []any{None{}, FetchArgs{Out: &out}, BackupArgs{In: newlyStuck(t)},
		RemoveArgs{Name: strings.Repeat("long ", 1<<18)}} {
		err := (&Client{socket}).Call(t.Context(), CommandStatus, args, nil, nil)
		if core.CodeOf(err) != core.CodeFailed || !strings.Contains(err.Error(), "older release") ||
			!strings.Contains(core.HintOf(err), "bkp node start") {
			t.Errorf("%.40v: %v, hint %s", args, err, core.HintOf(err))
		}
	}
}

func newlyStuck(t *testing.T) *stuck {
	in := newStuck()
	t.Cleanup(func() { close(in.free) })
	return in
}

// TestOlderCommand: a command of a release that spoke lines meets this node, and reads its answer as strictly as then.
func TestOlderCommand(t *testing.T) {
	socket, _ := serve(t, fakeNode{})
	for _, said := range []string{
		`{"type":"LOCAL_CALL","command":"status","args":{}}` + "\n",
		`{"type":"LOCAL_STREAM","stream":"0f9c37a1d2c84b5e9a7703126b4e8fd5"}` + "\n",
	} {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, said)
		lines := bufio.NewReader(conn)
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Type  string    `json:"type"`
			Code  core.Code `json:"code"`
			Error string    `json:"error"`
			Hint  string    `json:"hint"`
		}
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&answer); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if answer.Type != "LOCAL_RESULT" || answer.Code != core.CodeFailed || answer.Hint == "" ||
			!strings.Contains(answer.Error, "newer release") {
			t.Errorf("%+v", answer)
		}
		if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
			t.Errorf("then %q, %v", rest, err)
		}
		conn.Close()
	}
}
