// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// answers is a node that answers status with what stands in it, and keeps two placements.
type answers struct {
	status control.StatusResult
	err    error
}

func (a *answers) Call(_ context.Context, name string, _, result any, _ func(control.Status)) error {
	switch name {
	case control.CommandStatus:
	case control.CommandStanding:
		result.(*control.StandingResult).Placements = []control.Standing{
			{Name: "secret.img", Wanted: 2, Copies: 2, State: control.StateWell, Audited: 1000},
			{Name: "secret.img", Wanted: 3, Copies: 1, State: control.StateMending, Audited: 900}}
		return a.err
	default:
		return errors.New("asked for " + name)
	}
	*result.(*control.StatusResult) = a.status
	return a.err
}

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func watched() (*answers, http.Handler) {
	a := &answers{status: control.StatusResult{
		Health: control.HealthReady, Ready: true, Capacity: 10 * core.GiB, Used: core.GiB, Remaining: 9 * core.GiB,
		Runs: 7, Peers: 1,
		Links: []control.PeerRow{{ID: core.ID{1}, Declared: 5 << 20, Measured: 4 << 20, Samples: 9, LeasedOut: 1 << 20,
			DelayMS: 2}},
		Work: []control.WorkRow{{Command: control.CommandPlace, Name: "secret.img",
			Status: control.Status{Phase: "place", Done: 3, Total: 8}}},
	}}
	return a, Handler(Node{Caller: a, Version: "1.2.3",
		Versions: func() (int, error) { return 4, nil },
		Jobs:     func() []Job { return []Job{{Name: "db", Well: 800, Failed: 2, Late: true}, {Name: "vm"}} }})
}

func TestScrape(t *testing.T) {
	a, h := watched()
	code, text := get(t, h, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("code %d: %s", code, text)
	}
	for _, want := range []string{`bkp_build_info{version="1.2.3"} 1`, "bkp_up 1", "bkp_ready 1", "bkp_runs 7",
		"bkp_used_bytes 1.073741824e+09", `bkp_link_leased_bytes_per_second{direction="out",peer="` +
			core.ID{1}.Short() + `"} 1.048576e+06`, `bkp_commands_done_bytes{command="place"} 3`,
		`bkp_commands_under_way{command="fetch"} 0`, "bkp_versions_below_wanted 1", "bkp_copies_lacking 2",
		"bkp_versions 4", `bkp_placements{state="mending"} 1`, `bkp_placements{state="lacking"} 0`,
		"bkp_audited_time_seconds 900", `bkp_job_failed{job="db"} 2`, `bkp_job_late{job="db"} 1`,
		`bkp_job_success_time_seconds{job="db"} 800`, `bkp_job_late{job="vm"} 0`, "go_goroutines "} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "secret") {
		t.Error("a name is among the metrics")
	}
	a.status.Ready, a.status.Reasons = false, []control.HealthReason{{Key: "disk", Text: "it is full"}}
	if _, text = get(t, h, "/metrics"); !strings.Contains(text, `bkp_degraded{reason="disk"} 1`) ||
		!strings.Contains(text, "bkp_ready 0") {
		t.Errorf("a degraded node says\n%s", text)
	}
	a.err = errors.New("it hangs")
	if _, text = get(t, h, "/metrics"); !strings.Contains(text, "bkp_up 0") || strings.Contains(text, "bkp_runs") {
		t.Errorf("a node that does not answer says\n%s", text)
	}
}

func TestHealthz(t *testing.T) {
	a, h := watched()
	if code, text := get(t, h, "/healthz"); code != http.StatusOK || !strings.Contains(text, `"ready"`) {
		t.Errorf("ready: %d %s", code, text)
	}
	a.status.Health, a.status.Reasons = control.HealthDegraded, []control.HealthReason{{Text: "the disk is full"}}
	if code, text := get(t, h, "/healthz"); code != http.StatusServiceUnavailable ||
		!strings.Contains(text, "the disk is full") {
		t.Errorf("degraded: %d %s", code, text)
	}
	a.err = errors.New("it hangs")
	if code, _ := get(t, h, "/healthz"); code != http.StatusServiceUnavailable {
		t.Errorf("silent: %d", code)
	}
}

// The rules and the dashboard that come with bkp ask for metrics that there are.
func TestRulesNameMetrics(t *testing.T) {
	_, h := watched()
	_, text := get(t, h, "/metrics")
	for _, path := range []string{"../../../scripts/monitoring/alerts.yml", "../../../scripts/monitoring/dashboard.json"} {
		rules, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile(`bkp_[a-z_]+`).FindAllString(string(rules), -1)
		if len(named) < 5 {
			t.Errorf("%s names %v", path, named)
		}
		for _, m := range named {
			if m != "bkp_degraded" && !strings.Contains(text, "\n"+m) {
				t.Errorf("%s names %s, which there is not", path, m)
			}
		}
	}
}
