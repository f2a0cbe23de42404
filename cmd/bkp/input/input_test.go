// SPDX-License-Identifier: Apache-2.0

package input

import (
	"context"
	"io"
	"testing"
)

// What a command writes ends well only where the command does.
func TestCommandEnds(t *testing.T) {
	for line, want := range map[string]string{
		"printf abc":        "abc",
		"printf ab; exit 3": `ab: the command "printf ab; exit 3" failed: exit status 3`,
		"kill -9 $$":        `: the command "kill -9 $$" failed: signal: killed`,
		"true":              "",
	} {
		in, err := FromCommand(t.Context(), line, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in.Reader)
		got := string(text)
		if err != nil {
			got += ": " + err.Error()
		}
		in.Close()
		if got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// A command whose caller has had enough is told to end, and Close does not wait for ever.
func TestCommandIsStopped(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	in, err := FromCommand(ctx, "sleep 60", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := io.ReadAll(in.Reader); err == nil {
		t.Error("a command that was stopped ended well")
	}
	in.Close()
}
