// SPDX-License-Identifier: Apache-2.0

// Command misbehave is a plugin that does wrong what the name it is run by says: bkp-strategy-nan answers NaN.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
	"github.com/bkp-tool/bkp/plugins/serve"
)

func main() {
	name := filepath.Base(os.Args[0])
	if verifier, ok := strings.CutPrefix(name, "bkp-verifier-"); ok {
		if verifier == "pid" {
			serve.Verifier(&pid{})
			return
		}
		serve.Verifier(sour(verifier))
		return
	}
	if _, ok := strings.CutPrefix(name, "bkp-notifier-"); ok {
		serve.Notifier(mortal{})
		return
	}
	name = strings.TrimPrefix(name, "bkp-strategy-")
	switch name {
	case "mute": // never says a word
		time.Sleep(time.Hour)
	case "stall": // says where it listens, and does not
		listener, err := net.Listen("unix", filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "stall"))
		if err != nil {
			panic(err)
		}
		fmt.Printf("1|1|unix|%s|grpc|\n", listener.Addr())
		time.Sleep(time.Hour)
	case "quitter":
		fmt.Fprintln(os.Stderr, "no disk, no plugin")
		os.Exit(7)
	case "stranger": // wants another cookie
		plugin.Serve(&plugin.ServeConfig{HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: 1,
			MagicCookieKey: contract.CookieKey, MagicCookieValue: "other"}})
		return
	case "future":
		fmt.Printf("1|2|unix|/nowhere|grpc|\n")
		time.Sleep(time.Hour)
	case "chatter":
		fmt.Fprintln(os.Stderr, `{"@message":1}`)
		fmt.Fprintln(os.Stderr, `{"@message":"boiling","@level":"warn","cups":3}`)
		fmt.Fprintln(os.Stderr, strings.Repeat("blah ", 100_000))
	case "garbage": // a flood where the handshake should stand
		for noise := strings.Repeat("\xff\x00#", 1<<20); ; {
			fmt.Print(noise)
		}
	}
	serve.Strategy(odd(name))
}

// longSleep tells the processes that bomb started from others: it has the number of the one that started them.
var longSleep = fmt.Sprint(100_000_000 + os.Getpid())

// mortal is a notifier that ends over an event that it does not know.
type mortal struct{}

func (mortal) Describe(context.Context) (core.NotifierInfo, error) {
	return core.NotifierInfo{Name: "mortal", Version: "0", Summary: "ends"}, nil
}

func (mortal) Notify(_ context.Context, e core.Event) error {
	if !slices.Contains(core.Events, e.What) {
		os.Exit(5)
	}
	return errors.New("nobody listens")
}

// odd is a strategy by the name of its fault.
type odd string

func (o odd) Describe(context.Context) (core.StrategyInfo, error) {
	switch o {
	case "liar":
		return core.StrategyInfo{Name: "honest"}, nil
	case "slow":
		time.Sleep(time.Hour)
	}
	info := core.StrategyInfo{Name: string(o), Version: "0"}
	if o == "echo" {
		info.Needs = []string{"zone", "labels", "free", "total", "uplink", "downlink", "link", "delay", "price_store",
			"price_send", "annual_failure", "uptime", "load", "numbers", "links"}
	}
	return info, nil
}

func (o odd) Score(_ context.Context, batch core.Batch) (s core.Scores, err error) {
	n := batch.Nodes.Len()
	s.PlaceCost = make([]float64, n)
	switch o {
	case "panics":
		panic("out of beans")
	case "crashes":
		os.Exit(3)
	case "once": // the first process ends when it is asked
		mark := os.Args[0] + ".died"
		if _, err := os.Stat(mark); err != nil {
			_ = os.WriteFile(mark, nil, 0o600)
			os.Exit(4)
		}
	case "hangs":
		time.Sleep(time.Hour)
	case "errs":
		return s, errors.New("no beans\x1b[31m\nat all")
	case "nan":
		s.PlaceCost[1] = math.NaN()
	case "infinite":
		s.TargetWeight = []float64{0, 0, math.Inf(1)}
	case "negative":
		s.FirstHolderWeight = []float64{-1, 0, 0}
	case "few":
		s.PlaceCost = s.PlaceCost[:n-1]
	case "many":
		s.Allow = make([]bool, n+1)
	case "below":
		s.QuotaCap = []core.Size{1, -1, 0}
	case "spread":
		s.Spread = core.Spread{Level: "planet", Max: 1}
	case "redundancy":
		s.Redundancy = core.Redundancy{Replicas: -1}
	case "gabble":
		s.Redundancy = core.Redundancy{Replicas: 3, Why: "since\nso"}
	case "escape":
		s.Explain = []string{"\x1b[2J", "", ""}
	case "large":
		s.Explain = []string{strings.Repeat("x", 64<<20), "", ""}
	case "huge":
		s.Explain = []string{strings.Repeat("x", 512<<20), "", ""}
	case "bomb": // more and more processes, each in a session of its own, without what bkp gave them
		for range 300 {
			c := exec.Command("sleep", longSleep)
			c.Env, c.SysProcAttr = []string{"A=b"}, &syscall.SysProcAttr{Setsid: true}
			if err := c.Start(); err != nil {
				return s, err
			}
		}
		time.Sleep(time.Hour)
	case "noisy":
		for noise := strings.Repeat("noise\n", 1<<20); ; {
			fmt.Print(noise)
			fmt.Fprint(os.Stderr, noise)
		}
	case "spy": // tells what it inherited
		stdin, _ := io.ReadAll(os.Stdin)
		var keys []string
		for _, pair := range os.Environ() {
			key, _, _ := strings.Cut(pair, "=")
			keys = append(keys, key)
		}
		s.Explain = []string{strings.Join(keys, " "), "stdin " + string(stdin), ""}
	case "curious": // opens what it is pointed to by its own file's name
		for _, name := range []string{"../secret", "../sub/secret", "../../beside"} {
			_, err := os.ReadFile(filepath.Join(filepath.Dir(os.Args[0]), name))
			s.Explain = append(s.Explain, fmt.Sprint(name, " ", err == nil))
		}
	case "echo": // tells what it was asked
		s.Explain = []string{digest(batch)}
		for range n - 1 {
			s.Explain = append(s.Explain, "")
		}
	case "chatter":
		fmt.Println("to standard output")
	}
	return s, nil
}

// digest is a digest of all that v holds, the same in every process.
func digest(v any) string { return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%+v", v))) }

// sour is a verifier by the name of its fault.
type sour string

func (v sour) Verify(_ context.Context, req core.VerifyRequest) (core.Verdict, error) {
	switch v {
	case "hangs":
		time.Sleep(time.Hour)
	case "once", "mortal": // of the one the first process ends when it is asked, of the other each does
		mark := os.Args[0] + ".died"
		if _, err := os.Stat(mark); err != nil || v == "mortal" {
			_ = os.WriteFile(mark, nil, 0o600)
			os.Exit(4)
		}
	case "errs":
		return core.Verdict{OK: true}, errors.New("cannot reach the registry")
	case "echo":
		return core.Verdict{Reason: digest(req)}, nil
	case "silent":
		return core.Verdict{}, nil
	case "no":
		return core.Verdict{Code: "moon", Reason: "wrong\tphase of the \x1b[1mmoon"}, nil
	}
	return core.Verdict{OK: true}, nil
}

// pid tells which process answers, and what it was configured with.
type pid struct{ config string }

func (p *pid) Configure(_ context.Context, config []byte) error {
	p.config = string(config)
	return nil
}

func (p *pid) Verify(context.Context, core.VerifyRequest) (core.Verdict, error) {
	return core.Verdict{Code: p.config, Reason: fmt.Sprint(os.Getpid())}, nil
}
