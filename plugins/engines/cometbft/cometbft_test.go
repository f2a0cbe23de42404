// SPDX-License-Identifier: Apache-2.0

package cometbft_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/engines/cometbft"
	"github.com/bkp-tool/bkp/plugins/engines/cometbft/order"
	"github.com/bkp-tool/bkp/plugins/engines/enginetest"
	"github.com/bkp-tool/bkp/plugins/plugintest"
)

// A validator is this program again, so that it can be killed.
func TestMain(m *testing.M) {
	home, is := os.LookupEnv("ORDER_HOME")
	if !is {
		os.Exit(m.Run())
	}
	var wrap func(abci.Application) abci.Application
	if os.Getenv("ORDER_LIES") != "" {
		wrap = func(a abci.Application) abci.Application { return liar{a} }
	}
	fmt.Fprintln(os.Stderr, order.Run(context.Background(), home, wrap))
	os.Exit(1)
}

// chain is four real validators.
type chain struct {
	t       *testing.T
	homes   []order.Home
	running []*exec.Cmd
	liar    int // the one that lies; -1: none
}

func start(t *testing.T, liar int) *chain {
	t.Helper()
	c := &chain{t: t, running: make([]*exec.Cmd, 4), liar: liar}
	dir := t.TempDir()
	for i := range c.running {
		c.homes = append(c.homes, order.Home{Dir: filepath.Join(dir, fmt.Sprint(i)), P2P: free(t), RPC: free(t)})
	}
	if err := order.Testnet("test", c.homes); err != nil {
		t.Fatal(err)
	}
	for i := range c.homes {
		c.up(i)
	}
	t.Cleanup(func() {
		for i := range c.homes {
			c.down(i)
		}
	})
	e := c.engine()
	for until := time.Now().Add(time.Minute); ; {
		_, err := e.Read(t.Context(), "a", 0, 1)
		if err == nil {
			return c
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (c *chain) up(i int) {
	v := exec.Command(os.Args[0])
	v.Env = append(os.Environ(), "ORDER_HOME="+c.homes[i].Dir)
	if i == c.liar {
		v.Env = append(v.Env, "ORDER_LIES=1")
	}
	if err := v.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.running[i] = v
}

// down kills a validator, as a loss of power would.
func (c *chain) down(i int) {
	if v := c.running[i]; v != nil {
		_ = v.Process.Kill()
		_ = v.Wait()
	}
	c.running[i] = nil
}

func (c *chain) settings() map[string]any {
	var at []string
	for _, h := range c.homes {
		at = append(at, "http://"+h.RPC)
	}
	return map[string]any{"validators": at}
}

func (c *chain) engine() core.Engine {
	c.t.Helper()
	config, err := json.Marshal(c.settings())
	if err != nil {
		c.t.Fatal(err)
	}
	e := cometbft.New()
	if err := e.(core.Configurer).Configure(c.t.Context(), config); err != nil {
		c.t.Fatal(err)
	}
	return e
}

// liar is a validator that has entries which nobody appended, and puts transactions nobody asked for into its blocks.
type liar struct{ abci.Application }

func (l liar) Query(_ context.Context, req *abci.RequestQuery) (*abci.ResponseQuery, error) {
	var q order.Question
	if err := json.Unmarshal(req.Data, &q); err != nil {
		return nil, err
	}
	forged := order.Stored{Nonce: make([]byte, 16), Entry: []byte("forged")}
	text, err := json.Marshal(order.Answer{Entries: q.After + 2, Stored: []order.Stored{forged, forged}})
	return &abci.ResponseQuery{Value: text}, err
}

func (l liar) PrepareProposal(ctx context.Context, req *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
	answer, err := l.Application.PrepareProposal(ctx, req)
	if err == nil && len(answer.Txs) > 0 { // what others ask for comes twice, behind what is none
		answer.Txs = append([][]byte{[]byte("none")}, append(answer.Txs, answer.Txs...)...)
	}
	return answer, err
}

func TestConformance(t *testing.T) { plugintest.Engine(t, start(t, -1).engine()) }

// One of four that lies convinces nobody.
func TestLiar(t *testing.T) { plugintest.Engine(t, start(t, 1).engine()) }

// One of four that is dead is missed by nobody; with two the order stands still, which is said; what was appended stands.
func TestDead(t *testing.T) {
	c := start(t, -1)
	e := c.engine()
	append := func(after int64) error {
		a, err := e.Append(t.Context(), "a", after, fmt.Append(nil, after))
		if err == nil && !a.OK {
			err = fmt.Errorf("it has %d entries", a.Entries)
		}
		return err
	}
	if err := append(0); err != nil {
		t.Fatal(err)
	}
	c.down(0)
	if err := append(1); err != nil {
		t.Fatal(err)
	}
	c.down(1)
	began := time.Now()
	if err := append(2); err == nil || !strings.Contains(err.Error(), "of the 4 validators 2 answer") || time.Since(began) > 9*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	c.up(0)
	c.up(1)
	for until := time.Now().Add(time.Minute); ; {
		err := append(2)
		if err == nil {
			break
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
	got, err := e.Read(t.Context(), "a", 0, 10)
	if err != nil || len(got) != 3 {
		t.Errorf("%q, %v", got, err)
	}
}

// Two coordinators, one of them killed, and the chain without enough validators for a while, by the built program; one of
// the four lies all the time.
func TestCoordinators(t *testing.T) {
	c := start(t, 3)
	enginetest.Coordinators(t, enginetest.Order{Name: "cometbft", Settings: c.settings(), Engine: c.engine(),
		Down: func() { c.down(0); c.down(1) }, Up: func() { c.up(0); c.up(1) }})
}
