// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/metrics"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// serveMetrics answers scrapes where --metrics says, on this machine alone unless it names another interface; the
// function that it returns ends that.
func (op *Opener) serveMetrics(n control.Caller, version string) (end func(), err error) {
	at := op.flags.String("metrics")
	if at == "" {
		return func() {}, nil
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return nil, line.UsageError("--metrics %q: want HOST:PORT: %w", at, err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, core.WithHint(fmt.Errorf("listen for scrapes: %w", err), "take another port with --metrics HOST:PORT")
	}
	s := &http.Server{Handler: metrics.Handler(metrics.Node{Caller: n, Versions: op.versions, Jobs: op.jobStates, Version: version}),
		ReadHeaderTimeout: 10 * time.Second}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) })
	op.console.Say("metrics at http://%s/metrics", l.Addr())
	return func() { _ = s.Close(); serving.Wait() }, nil
}

// versions counts those of the owner on this machine.
func (op *Opener) versions() (int, error) {
	o, err := op.identity()
	if err != nil || o == nil {
		return 0, err
	}
	refs, err := op.dir.Refs().Open(o)
	if err != nil && len(refs) == 0 {
		return 0, err
	}
	return len(refs), nil
}
