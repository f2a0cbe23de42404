// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Serve gives the volume out by HTTP with ranges at http://LISTEN/NAME until ctx ends. Only what is on this machine may
// ask where it listens on the loopback interface.
func Serve(ctx context.Context, listen string, v Volume, say func(format string, args ...any)) error {
	l, err := listenAt(listen, "listen")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler(v, isLoopback(l.Addr().String())), ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	say("reading http://%s/%s until interrupted", l.Addr(), url.PathEscape(v.base()))
	if err := server.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

// listenAt listens where a flag says.
func listenAt(address, flag string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, core.WithHint(fmt.Errorf("listen on %s: %w", address, errors.Unwrap(err)),
			"choose another with --%s HOST:PORT", flag)
	}
	return l, nil
}

// isLoopback reports whether an address can be reached from this machine alone.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// handler gives the volume to whoever asks for its name. What a page of another site has a browser ask for is refused:
// local, by the name that it asks by.
func handler(v Volume, local bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{name}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") != v.base() {
			http.Error(w, "no such name: /"+url.PathEscape(v.base())+" is here", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("ETag", fmt.Sprintf("%q", v.Root.String()))
		http.ServeContent(w, r, "", v.Created, io.NewSectionReader(v, 0, int64(v.Size)))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site := r.Header.Get("Sec-Fetch-Site")
		if r.Header.Get("Origin") != "" || site != "" && site != "none" && site != "same-origin" ||
			local && !isLoopback(r.Host) {
			http.Error(w, "not for pages of other sites", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
