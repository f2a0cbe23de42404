// SPDX-License-Identifier: Apache-2.0

package job

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/bkp-tool/bkp/core"
)

// flags is a command by the flags that a job may set.
type flags []string

func (f flags) Flag(name string) bool { return slices.Contains(f, name) }

func parse(t *testing.T, text string) ([]Job, error) {
	t.Helper()
	var table map[string]any
	if err := toml.Unmarshal([]byte(text), &table); err != nil {
		t.Fatal(err)
	}
	return Parse(table["job"], flags{"replicas", "skip-unchanged"}, flags{"keep-last", "keep-daily"})
}

func TestJobsAreCommands(t *testing.T) {
	t.Parallel()
	jobs, err := parse(t, `
		[job.vm]
		device = "/dev/vg/disk"
		when = "30 2 * * *"
		replicas = 3
		keep-daily = 7
		keep-last = 2
		verify = "5%"
		[job.db]
		command = "pg_dump shop"
		name = "shop.sql"
		when = "@daily"
		verify = true
		drill = "all"
		drill-every = "30d"`)
	if err != nil || len(jobs) != 2 {
		t.Fatalf("%+v, %v", jobs, err)
	}
	db, vm := jobs[0], jobs[1]
	for _, c := range []struct {
		got  []string
		want string
	}{
		{vm.BackupLine(), "backup --replicas=3 --name=disk -- /dev/vg/disk"},
		{vm.PruneLine(), "prune --keep-daily=7 --keep-last=2 -- disk"},
		{vm.VerifyLine(4), "verify --remote --sample=5% -- disk@4"},
		{db.BackupLine(), "backup --name=shop.sql --command=pg_dump shop"},
		{db.PruneLine(), ""},
		{db.VerifyLine(1), "verify --remote -- shop.sql@1"},
	} {
		if got := strings.Join(c.got, " "); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	if db.Drill != All || db.DrillEvery != 30*24*time.Hour || vm.Drill != 0 {
		t.Errorf("drills: %+v", jobs)
	}
}

func TestJobsThatAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`file = "/f"`:                         "when is missing",
		`when = "@daily"`:                     "what is to be backed up",
		"file = \"/f\"\nwhen = \"daily\"":     "want a line of cron",
		"file = \"f\"\nwhen = \"@daily\"":     "want a path from the root on",
		"command = \"ls\"\nwhen = \"@daily\"": "name is missing",
		"file = \"/f\"\nwhen = \"@daily\"\ncommand = \"ls\"\nname = \"x\"": "not both",
		"file = \"/f\"\nwhen = \"@daily\"\npeers = \"x\"":                  `unknown key "peers"`,
		"file = \"/f\"\nwhen = \"@daily\"\nkeep-hourly = 3":                `unknown key "keep-hourly"`,
		"file = \"/f\"\nwhen = \"@daily\"\ndrill = \"some\"":               "want a size such as",
		"file = \"/f\"\nwhen = \"@daily\"\nverify = \"often\"":             "want true, a share",
		"file = \"/f\"\nwhen = \"@daily\"\nurl = \"example.org\"":          "want https://HOST/PATH",
	} {
		if _, err := parse(t, "[job.x]\n"+text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{"job = 3", "[job]\nx = 3", "[job.\"a/b\"]\nfile = \"/f\"\nwhen = \"@daily\""} {
		if _, err := parse(t, text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// One run makes up for all that was missed; what failed is tried again before the next tick, in growing pauses; what
// was cut off or stopped soon; what is wrong in itself only at the next tick.
func TestNext(t *testing.T) {
	t.Parallel()
	jobs, err := parse(t, "[job.x]\nfile = \"/f\"\nwhen = \"CRON_TZ=UTC 0 2 * * *\"")
	if err != nil {
		t.Fatal(err)
	}
	at := func(text string) int64 {
		when, err := time.Parse("2 15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		return when.AddDate(2026, 0, 0).Unix()
	}
	for _, c := range []struct {
		name string
		s    State
		next string
	}{
		{"never run", State{Since: at("3 14:00")}, "4 02:00"},
		{"well", State{Since: 1, Began: at("4 02:00"), Ended: at("4 02:30")}, "5 02:00"},
		{"missed for days: due since the first of them", State{Since: 1, Began: at("4 02:00"), Ended: at("4 02:30")}, "5 02:00"},
		{"took longer than a day", State{Since: 1, Began: at("4 02:00"), Ended: at("5 03:00")}, "5 02:00"},
		{"failed once", State{Since: 1, Began: at("4 02:00"), Ended: at("4 02:30"), Failed: 1, Code: 13}, "4 02:40"},
		{"failed thrice", State{Since: 1, Began: at("4 02:00"), Ended: at("4 02:30"), Failed: 3, Code: 13}, "4 03:10"},
		{"failed often", State{Since: 1, Began: at("4 02:00"), Ended: at("4 02:30"), Failed: 30, Code: 13}, "4 06:30"},
		{"failed shortly before the next", State{Since: 1, Began: at("4 02:00"), Ended: at("5 01:55"), Failed: 1, Code: 1}, "5 02:00"},
		{"wrong in itself", State{Since: 1, Began: at("4 02:00"), Ended: at("4 02:30"), Failed: 1, Code: int(core.CodeUsage)}, "5 02:00"},
		{"stopped", State{Since: 1, Began: at("4 02:00"), Ended: at("4 02:30"), Failed: 1, Code: 143}, "4 02:30"},
		{"cut off", State{Since: 1, Began: at("4 02:00"), Ended: at("3 02:30")}, "4 02:00"},
	} {
		if next := jobs[0].Next(c.s).UTC().Format("2 15:04"); next != c.next {
			t.Errorf("%s: next at %s, want %s", c.name, next, c.next)
		}
	}
	s := State{Since: 1, Began: at("4 02:00"), Ended: at("4 02:30")}
	if jobs[0].Late(s, time.Unix(at("5 02:30"), 0)) || !jobs[0].Late(s, time.Unix(at("5 03:01"), 0)) {
		t.Error("it is late after an hour, and no sooner")
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	var said []string
	answers := []int{500, 200, 200}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said = append(said, r.URL.Path)
		w.WriteHeader(answers[0])
		answers = answers[1:]
	}))
	defer s.Close()
	j := Job{Name: "x", URL: s.URL + "/secret"}
	if err := j.Ping(t.Context(), PingStart, ""); err != nil { // at the second try
		t.Error(err)
	}
	if err := j.Ping(t.Context(), PingFail, "why"); err != nil {
		t.Error(err)
	}
	if want := []string{"/secret/start", "/secret/start", "/secret/fail"}; !slices.Equal(said, want) {
		t.Errorf("asked for %q", said)
	}
	s.Close()
	if err := j.Ping(t.Context(), PingSuccess, ""); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the address is told: %v", err)
	}
}
