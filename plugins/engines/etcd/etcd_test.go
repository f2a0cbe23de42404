// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"encoding/json"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/engines/enginetest"
	"github.com/bkp-tool/bkp/plugins/engines/etcd"
	"github.com/bkp-tool/bkp/plugins/plugintest"
)

// server is a real etcd of one member in this process, which can be stopped and started again.
type server struct {
	t            *testing.T
	dir          string
	client, peer url.URL
	running      *embed.Etcd
}

func start(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), client: address(t), peer: address(t)}
	s.up()
	t.Cleanup(s.down)
	return s
}

// address is one that is free.
func address(t *testing.T) url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return url.URL{Scheme: "http", Host: l.Addr().String()}
}

func (s *server) up() {
	c := embed.NewConfig()
	c.Dir, c.LogLevel, c.Logger = s.dir, "panic", "zap"
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{s.client}, []url.URL{s.client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{s.peer}, []url.URL{s.peer}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	running, err := embed.StartEtcd(c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.running = running
	<-running.Server.ReadyNotify()
}

func (s *server) down() {
	if s.running != nil {
		s.running.Close()
	}
	s.running = nil
}

func (s *server) settings() map[string]any {
	return map[string]any{"endpoints": []string{s.client.String()}}
}

func (s *server) engine() core.Engine {
	s.t.Helper()
	config, err := json.Marshal(s.settings())
	if err != nil {
		s.t.Fatal(err)
	}
	e := etcd.New()
	if err := e.(core.Configurer).Configure(s.t.Context(), config); err != nil {
		s.t.Fatal(err)
	}
	return e
}

func TestConformance(t *testing.T) { plugintest.Engine(t, start(t).engine()) }

// What etcd was told stands after it was started again; while it is away that is said, in less than bkp waits.
func TestAway(t *testing.T) {
	s := start(t)
	e := s.engine()
	if a, err := e.Append(t.Context(), "a", 0, []byte("x")); err != nil || !a.OK {
		t.Fatal(a, err)
	}
	s.down()
	began := time.Now()
	_, err := e.Read(t.Context(), "a", 0, 1)
	if err == nil || !strings.Contains(err.Error(), s.client.String()) || time.Since(began) > 9*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	s.up()
	for {
		got, err := e.Read(t.Context(), "a", 0, 2)
		if err == nil {
			if len(got) != 1 || string(got[0]) != "x" {
				t.Errorf("%q", got)
			}
			return
		}
		t.Log(err)
	}
}

func TestSettings(t *testing.T) {
	if _, err := etcd.New().Read(context.Background(), "a", 0, 1); err == nil || !strings.Contains(err.Error(), "no endpoints are set") {
		t.Error(err)
	}
	for _, config := range []string{`{"endpoints":["10.0.0.1:2379"]}`, `{"prefix":""}`, `{"prefix":"a:b"}`,
		`{"endpoints":["https://h:1"],"ca-file":"/nowhere"}`, `{"endpoints":["http://h:1"],"password-file":"/nowhere"}`} {
		if err := etcd.New().(core.Configurer).Configure(t.Context(), []byte(config)); err == nil {
			t.Errorf("%s is taken", config)
		}
	}
}

// Two coordinators, one of them killed, and etcd away for a while, by the built program.
func TestCoordinators(t *testing.T) {
	s := start(t)
	enginetest.Coordinators(t, enginetest.Order{Name: "etcd", Settings: s.settings(), Engine: s.engine(), Down: s.down, Up: s.up})
}
