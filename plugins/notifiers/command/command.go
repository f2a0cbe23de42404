// SPDX-License-Identifier: Apache-2.0

// Package command is the notifier that runs a command for each event. The event is its standard input, as JSON, and
// stands in its environment: BKP_EVENT, BKP_SUBJECT, BKP_TEXT.
//
//	[plugin.notifier.command]
//	command = "mail -s \"bkp: $BKP_EVENT $BKP_SUBJECT\" me@example.org"
package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/serve"
)

// New is the notifier. It tells nothing before it is configured.
func New() core.Notifier { return &command{Events: []string{}} }

type command struct {
	Command string   `json:"command" about:"the line that sh runs for each event"`
	Events  []string `json:"events" about:"the events for which it runs; none: all"`
}

func (c *command) Describe(context.Context) (core.NotifierInfo, error) {
	return core.NotifierInfo{Name: "command", Version: "1.0.0", Summary: "runs a command for each event",
		Settings: serve.Settings(&command{Events: []string{}})}, nil
}

func (c *command) Configure(_ context.Context, config []byte) error { return json.Unmarshal(config, c) }

func (c *command) Notify(ctx context.Context, e core.Event) error {
	if len(c.Events) > 0 && !slices.Contains(c.Events, e.What) {
		return nil
	}
	if c.Command == "" {
		return errors.New("no command is set")
	}
	input, err := json.Marshal(e)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", c.Command)
	cmd.Env = append(os.Environ(), "BKP_EVENT="+e.What, "BKP_SUBJECT="+e.Subject, "BKP_TEXT="+e.Text)
	cmd.Stdin, cmd.WaitDelay = bytes.NewReader(append(input, '\n')), time.Second
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %.300s", err, strings.TrimSpace(string(said)))
	}
	return nil
}
