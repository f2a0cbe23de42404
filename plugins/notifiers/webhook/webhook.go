// SPDX-License-Identifier: Apache-2.0

// Package webhook is the notifier that posts each event to a URL, as JSON:
//
//	[plugin.notifier.webhook]
//	url = "https://example.org/bkp"
//	events = ["copies-lost", "audit-failed", "job-failed"]
package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/serve"
)

// New is the notifier. It tells nothing before it is configured.
func New() core.Notifier { return &webhook{Headers: []string{}, Events: []string{}} }

type webhook struct {
	URL     string   `json:"url" about:"where each event is posted, as JSON"`
	Headers []string `json:"headers" about:"further header lines, as \"Authorization: Bearer …\""`
	Events  []string `json:"events" about:"the events that are posted; none: all"`
}

func (w *webhook) Describe(context.Context) (core.NotifierInfo, error) {
	return core.NotifierInfo{Name: "webhook", Version: "1.0.0", Summary: "posts events to a URL",
		Settings: serve.Settings(&webhook{Headers: []string{}, Events: []string{}})}, nil
}

func (w *webhook) Configure(_ context.Context, config []byte) error {
	if err := json.Unmarshal(config, w); err != nil {
		return err
	}
	if u, err := url.Parse(w.URL); w.URL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("url %q: want https://HOST/PATH", w.URL)
	}
	for _, h := range w.Headers {
		if !strings.Contains(h, ":") {
			return fmt.Errorf("header %q: want NAME: VALUE", h)
		}
	}
	return nil
}

func (w *webhook) Notify(ctx context.Context, e core.Event) error {
	if len(w.Events) > 0 && !slices.Contains(w.Events, e.What) {
		return nil
	}
	if w.URL == "" {
		return errors.New("no url is set")
	}
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	for _, h := range w.Headers {
		name, value, _ := strings.Cut(h, ":")
		r.Header.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		if hidden, ok := errors.AsType[*url.Error](err); ok {
			err = hidden.Err // a URL may be a secret
		}
		return fmt.Errorf("post it: %w", err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20))
	if answer.StatusCode >= 300 {
		return fmt.Errorf("post it: the answer is %s", answer.Status)
	}
	return nil
}
