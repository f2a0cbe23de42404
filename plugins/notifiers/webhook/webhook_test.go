// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/notifiers/webhook"
	"github.com/bkp-tool/bkp/plugins/plugintest"
)

func TestConformance(t *testing.T) { plugintest.Notifier(t, webhook.New()) }

func configured(t *testing.T, config string) (core.Notifier, error) {
	t.Helper()
	n := webhook.New()
	return n, n.(core.Configurer).Configure(t.Context(), []byte(config))
}

// What is wanted is posted whole, with the headers; what is not wanted is not; an answer that is none is an error.
func TestPosts(t *testing.T) {
	t.Parallel()
	var got []core.Event
	answer := http.StatusNoContent
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var e core.Event
		if err := json.Unmarshal(body, &e); err != nil || r.Header.Get("X-Token") != "beans" || r.Method != "POST" {
			t.Errorf("%s %v %v: %s", r.Method, r.Header, err, body)
		}
		got = append(got, e)
		w.WriteHeader(answer)
	}))
	defer s.Close()
	n, err := configured(t, `{"url":"`+s.URL+`/x","headers":["X-Token: beans"],"events":["copies-lost"]}`)
	if err != nil {
		t.Fatal(err)
	}
	want := plugintest.Event(core.EventCopiesLost)
	for _, what := range core.Events {
		if err := n.Notify(context.Background(), plugintest.Event(what)); err != nil {
			t.Error(err)
		}
	}
	if len(got) != 1 || got[0] != want {
		t.Errorf("posted %+v", got)
	}
	answer = http.StatusForbidden
	if err := n.Notify(t.Context(), want); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("refused: %v", err)
	}
	s.Close()
	if err := n.Notify(t.Context(), want); err == nil || strings.Contains(err.Error(), "/x") {
		t.Errorf("the address is told: %v", err)
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, config := range []string{`{"url":"example.org"}`, `{"url":"file:///etc/passwd"}`, `{"headers":["x"]}`, `{"url":1}`} {
		if _, err := configured(t, config); err == nil {
			t.Errorf("%s is taken", config)
		}
	}
}
