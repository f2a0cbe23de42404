// SPDX-License-Identifier: Apache-2.0

// Package metrics tells a monitoring system how a running node is: /metrics for Prometheus, /healthz for probes and
// /debug/pprof for who looks for where time goes. No label carries a name of a file, an owner or a token: peers stand
// there by the beginning of their IDs.
package metrics

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/bkp-tool/bkp/core/control"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Node is what is watched: Caller answers for the running node, Versions counts those of its own owner, or says that it
// cannot.
type Node struct {
	control.Caller
	Versions func() (int, error)
	Jobs     func() []Job
	Version  string
}

// Job is how it is with a job of config.toml.
type Job struct {
	Name   string
	Well   int64 // when it last ended well, Unix seconds; 0 is never
	Failed int   // runs since then that did not
	Late   bool  // it should have run an hour ago and more
}

// patience is how long the node may take to answer a scrape.
const patience = 5 * time.Second

// Handler answers scrapes and probes.
func Handler(n Node) http.Handler {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&collector{n}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /healthz", n.healthz)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

func (n Node) status(ctx context.Context) (r control.StatusResult, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = n.Call(ctx, control.CommandStatus, control.None{}, &r, nil)
	return r, err
}

// healthz answers 200 while the node is ready, else 503; the body says why, as JSON.
func (n Node) healthz(w http.ResponseWriter, req *http.Request) {
	r, err := n.status(req.Context())
	answer := struct {
		Health  string   `json:"health"`
		Reasons []string `json:"reasons"`
	}{r.Health, []string{}}
	for _, x := range r.Reasons {
		answer.Reasons = append(answer.Reasons, x.Text)
	}
	if err != nil {
		answer.Health, answer.Reasons = "silent", []string{err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	if answer.Health != control.HealthReady {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// collector asks the node anew at every scrape.
type collector struct{ Node }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("bkp_"+name, help, labels, nil)
}

var (
	build     = desc("build_info", "1, with the version of bkp.", "version")
	up        = desc("up", "1 where the node answered this scrape.")
	ready     = desc("ready", "1 where the node is not degraded.")
	degraded  = desc("degraded", "1 for each kind of reason why the node is degraded.", "reason")
	started   = desc("start_time_seconds", "When the node was started, in seconds since 1970.")
	capacity  = desc("capacity_bytes", "What the node keeps for others at most.")
	used      = desc("used_bytes", "What it keeps for others.")
	reserved  = desc("reserved_bytes", "What it promised to keep, and has not got yet.")
	remaining = desc("remaining_bytes", "What it still takes; less than capacity leaves where the disk has no more.")
	staged    = desc("staged_bytes", "What its own owner has on this machine.")
	runs      = desc("runs", "Runs that it keeps for others.")
	tasks     = desc("tasks", "Tasks of which it keeps something.")
	peers     = desc("peers_connected", "Peers that it is connected to.")
	declared  = desc("link_declared_bytes_per_second", "Bandwidth of the link to a peer by the smaller word.", "peer")
	measured  = desc("link_measured_bytes_per_second", "What transfers to a peer came to.", "peer")
	leased    = desc("link_leased_bytes_per_second", "Bandwidth reserved now.", "peer", "direction")
	delay     = desc("link_delay_seconds", "Round trip to a peer.", "peer")
	working   = desc("commands_under_way", "Commands that move bytes.", "command")
	moved     = desc("commands_done_bytes", "What they have moved, all together.", "command")
	toMove    = desc("commands_total_bytes", "What they are to move, all together.", "command")
	versions  = desc("versions", "Versions of this data directory's owner.")
	below     = desc("versions_below_wanted", "Versions with fewer copies that count than are wanted.")
	lacking   = desc("copies_lacking", "Copies that versions lack.")
	placed    = desc("placements", "Placements by what they are doing.", "state")
	audited   = desc("audited_time_seconds", "When the copies were proved that were not for longest, in seconds since 1970.")
	jobWell   = desc("job_success_time_seconds", "When a job last ended well, in seconds since 1970.", "job")
	jobFailed = desc("job_failed", "Runs of a job that failed since it last ended well.", "job")
	jobLate   = desc("job_late", "1 where a job should have run an hour ago and more.", "job")
)

func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{build, up, ready, degraded, started, capacity, used, reserved, remaining, staged,
		runs, tasks, peers, declared, measured, leased, delay, working, moved, toMove, versions, below, lacking, placed,
		audited, jobWell, jobFailed, jobLate} {
		to <- d
	}
}

func (c *collector) Collect(to chan<- prometheus.Metric) {
	tell := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	tell(build, 1, c.Version)
	if count, err := c.Versions(); err == nil { // else it is not told, rather than told wrong
		tell(versions, float64(count))
	}
	for _, j := range c.Jobs() {
		tell(jobFailed, float64(j.Failed), j.Name)
		tell(jobLate, map[bool]float64{true: 1}[j.Late], j.Name)
		if j.Well > 0 {
			tell(jobWell, float64(j.Well), j.Name)
		}
	}
	c.collectPlacements(tell)
	r, err := c.status(context.Background())
	if err != nil {
		tell(up, 0)
		return
	}
	tell(up, 1)
	tell(ready, map[bool]float64{true: 1}[r.Ready])
	for _, x := range r.Reasons {
		tell(degraded, 1, x.Key)
	}
	tell(started, float64(r.Started.Unix()))
	tell(capacity, float64(r.Capacity))
	tell(used, float64(r.Used))
	tell(reserved, float64(r.Reserved))
	tell(remaining, float64(r.Remaining))
	tell(staged, float64(r.Staged))
	tell(runs, float64(r.Runs))
	tell(tasks, float64(len(r.Tasks)))
	tell(peers, float64(r.Peers))
	collectLinks(r, tell)
	collectWork(r, tell)
}

func collectLinks(r control.StatusResult, tell func(*prometheus.Desc, float64, ...string)) {
	for _, p := range r.Links {
		id := p.ID.Short()
		tell(declared, float64(p.Declared), id)
		if p.Samples > 0 {
			tell(measured, float64(p.Measured), id)
		}
		tell(leased, float64(p.LeasedOut), id, "out")
		tell(leased, float64(p.LeasedIn), id, "in")
		tell(delay, p.DelayMS/1000, id)
	}
}

func collectWork(r control.StatusResult, tell func(*prometheus.Desc, float64, ...string)) {
	type sum struct{ count, done, total float64 }
	sums := map[string]sum{control.CommandPlace: {}, control.CommandFetch: {}, control.CommandBackup: {}}
	for _, w := range r.Work {
		s := sums[w.Command]
		sums[w.Command] = sum{s.count + 1, s.done + float64(w.Done), s.total + float64(w.Total)}
	}
	for command, s := range sums {
		tell(working, s.count, command)
		tell(moved, s.done, command)
		tell(toMove, s.total, command)
	}
}

// collectPlacements tells what bkp status does; nothing where the node keeps no owner's placements.
func (c *collector) collectPlacements(tell func(*prometheus.Desc, float64, ...string)) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var r control.StandingResult
	if err := c.Call(ctx, control.CommandStanding, control.StandingArgs{}, &r, nil); err != nil {
		return
	}
	short, lack, oldest := 0, 0, int64(0)
	states := map[string]int{control.StateWell: 0, control.StateWaiting: 0, control.StatePlacing: 0,
		control.StateMending: 0, control.StateLacking: 0}
	for i, p := range r.Placements {
		states[p.State]++
		if p.Copies < p.Wanted {
			short++
			lack += p.Wanted - p.Copies
		}
		if i == 0 || p.Audited < oldest {
			oldest = p.Audited
		}
	}
	tell(below, float64(short))
	tell(lacking, float64(lack))
	for state, count := range states {
		tell(placed, float64(count), state)
	}
	if len(r.Placements) > 0 {
		tell(audited, float64(oldest))
	}
}
