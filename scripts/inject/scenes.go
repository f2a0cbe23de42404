// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

package main

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A scene is a command that something befalls, what it begins with, and what must hold afterwards, whatever befell it.
type scene struct {
	name    string
	prepare func(w *world)
	act     func(w *world) outcome
	check   func(w *world, o outcome)
}

var scenes = []scene{
	{"split", oneVersion, splitNew, checkSplit},
	{"gc", removedVersion, collect, checkCollected},
	{"rm", twoNames, remove, checkRemoved},
	{"fetch", oneVersion, fetchFresh, checkFetched},
	{"fetch-over", oneVersion, fetchOver, checkFetchedOver},
	{"fetch-far", placedVersion, fetchFar, checkFetchedFar},
	{"place-source", placedAndNew, placeFromTraced, checkPlaced},
	{"place-target", placedAndNew, placeToTraced, checkPlaced},
	{"coordinate", placedAndNew, coordinateTraced, checkCoordinated},
}

// oneVersion: the name old, whose split was acknowledged, and a file new that shares half of it.
func oneVersion(w *world) {
	w.write("old", 1, 2)
	w.write("new", 2, 3)
	w.must("split", "old", "--data", "src")
}

func splitNew(w *world) outcome { return w.traced("split", "new", "--data", "src") }

func checkSplit(w *world, o outcome) {
	w.brings("src", "old", 1, 2)
	if o.code == 0 {
		w.brings("src", "new", 2, 3)
	}
	w.must("split", "new", "--data", "src")
	w.whole("src")
	w.brings("src", "old", 1, 2)
	w.brings("src", "new", 2, 3)
}

// whole: what is on this machine is right, before and after a collection.
func (w *world) whole(data string) {
	w.must("verify", "--data", data)
	w.must("gc", "--data", data)
	w.must("verify", "--data", data)
}

// removedVersion: gone was removed, and its packs hold chunks of old too.
func removedVersion(w *world) {
	w.write("gone", 1, 3)
	w.must("split", "gone", "--data", "src")
	oneVersion(w)
	w.must("rm", "gone", "--data", "src")
}

func collect(w *world) outcome { return w.traced("gc", "--data", "src") }

func checkCollected(w *world, o outcome) {
	w.brings("src", "old", 1, 2)
	w.whole("src")
	w.brings("src", "old", 1, 2)
	w.must("split", "new", "--data", "src")
	w.brings("src", "new", 2, 3)
}

func twoNames(w *world) {
	oneVersion(w)
	w.must("split", "new", "--data", "src")
}

func remove(w *world) outcome { return w.traced("rm", "new", "--data", "src") }

func checkRemoved(w *world, o outcome) {
	const noSuchName = 10
	listed := w.do("show", "new", "--data", "src")
	switch {
	case o.code == 0 && listed == 0:
		w.wrong("rm ended with 0, and the name is there still")
	case listed == 0:
		w.brings("src", "new", 2, 3)
		w.must("rm", "new", "--data", "src")
	case listed != noSuchName:
		w.wrong("show ended with %d", listed)
	}
	w.brings("src", "old", 1, 2)
	w.whole("src")
	w.brings("src", "old", 1, 2)
}

func fetchFresh(w *world) outcome { return w.traced("fetch", "old", "--data", "src", "-o", "out/old") }

func checkFetched(w *world, o outcome) {
	w.fetched(o, func() bool { return !w.exists("out/old") })
	os.Remove(w.path("out/old"))
	w.must("fetch", "old", "--data", "src", "-o", "out/old")
	w.nothingLeft()
	w.whole("src")
}

// fetched: the file is whole under its name, or as it was before; and that is what the exit code says.
func (w *world) fetched(o outcome, before func() bool) {
	whole := w.same("out/old", 1, 2)
	switch {
	case !whole && !before():
		w.wrong("the name stands for neither the file nor what was there before")
	case o.code == 0 && !whole:
		w.wrong("fetch ended with 0, and the file is not there")
	case o.code != 0 && !w.run.fault.kills() && !before():
		w.wrong("fetch ended with %d, and the file stands under its name", o.code)
	}
}

func (w *world) nothingLeft() {
	if !w.same("out/old", 1, 2) {
		w.wrong("the second fetch ended with 0 and gives other bytes")
	}
	if files, _ := filepath.Glob(w.path("out/.*")); len(files) > 0 {
		w.wrong("left behind: %s", files)
	}
}

func fetchOver(w *world) outcome {
	w.write("out/old", 9)
	return w.traced("fetch", "old", "--data", "src", "-o", "out/old", "--force")
}

func checkFetchedOver(w *world, o outcome) {
	w.fetched(o, func() bool { return w.same("out/old", 9) })
	w.must("fetch", "old", "--data", "src", "-o", "out/old", "--force")
	w.nothingLeft()
}

// placedVersion: the node of dst keeps old for the owner of src; far is a machine that has the owner's identity alone.
func placedVersion(w *world) {
	token := base64.StdEncoding.EncodeToString(make([]byte, 32))
	if err := os.WriteFile(w.path("token"), []byte(token), 0o600); err != nil {
		w.wrong("%v", err)
	}
	oneVersion(w)
	w.startBoth()
	w.must("place", "old", "--data", "src", "--replicas", "1")
	identity, err := os.ReadFile(w.path("src/identity"))
	if err == nil {
		err = os.WriteFile(w.path("identity"), identity, 0o600)
	}
	if err != nil {
		w.wrong("%v", err)
	}
	w.must("key", "import", "identity", "--data", "far")
}

func fetchFar(w *world) outcome {
	w.start("dst")
	return w.traced(append([]string{"fetch", "old", "--data", "far", "-o", "out/old"}, w.peer()...)...)
}

func (w *world) peer() []string {
	return []string{"--peers", w.address("dst"), "--token-file", "token"}
}

func checkFetchedFar(w *world, o outcome) {
	w.fetched(o, func() bool { return !w.exists("out/old") })
	os.Remove(w.path("out/old"))
	w.must(append([]string{"fetch", "old", "--data", "far", "-o", "out/old"}, w.peer()...)...)
	w.nothingLeft()
	w.stopAll()
}

func placedAndNew(w *world) {
	placedVersion(w)
	w.must("split", "new", "--data", "src")
}

func placeFromTraced(w *world) outcome { return w.placed("src") }
func placeToTraced(w *world) outcome   { return w.placed("dst") }

// How long somebody waits for a place before pressing ^C: while both nodes run, and once one of them has ended.
const (
	patience     = 8 * time.Second
	patienceGone = 500 * time.Millisecond
)

// placed places new while something befalls one of the two nodes. The other one runs on, as it would.
func (w *world) placed(traced string) outcome {
	w.begins(peersOf[traced][0])
	w.startTraced(traced)
	if w.met(traced, limit/6) {
		ctx, cancel := context.WithTimeout(w.ctx, patience)
		defer cancel()
		go func() {
			<-w.nodes[traced].ended
			time.AfterFunc(patienceGone, cancel)
		}()
		w.acked = w.until(ctx, "place", "new", "--data", "src", "--replicas", "1") == 0
	}
	if w.run.fault == "" && !w.acked {
		w.wrong("nothing befell the place, and it did not end with 0")
	}
	return w.stop(traced)
}

// startBoth starts those of the scene's nodes that do not run, and waits until they have met.
func (w *world) startBoth() { w.startThese(w.names()...) }

func (w *world) startThese(names ...string) {
	for _, data := range names {
		if w.nodes[data] == nil {
			w.begins(data)
		}
	}
	for _, data := range names {
		if !w.ready(data, len(names)-1, limit) {
			w.wrong("the node of %s is not well, or does not meet its peers", data)
		}
	}
}

func checkPlaced(w *world, o outcome) {
	w.startBoth()
	w.brings("src", "old", 1, 2)
	if w.acked {
		w.brings("src", "new", 2, 3)
	}
	w.must("place", "new", "--data", "src", "--replicas", "1")
	for _, data := range w.names() {
		w.must("gc", "--data", data)
	}
	w.brings("src", "new", 2, 3)
	w.stopAll()
	w.must("verify", "--data", "dst")
	for _, data := range w.names() {
		w.must("ledger", "verify", "--data", data)
	}
}

// told is how a place ends that was handed over: this machine may go.
const told = 3

// coordinateTraced hands new over to a third node, which something befalls, and waits until that has made the copy that
// is wanted.
func coordinateTraced(w *world) outcome {
	w.mid = true
	w.begins("src")
	w.begins("dst")
	w.startTraced("mid")
	done := false
	if w.answers("mid", limit/6, func(s status) bool { return s.Peers > 1 }) {
		ctx, cancel := context.WithTimeout(w.ctx, 2*patience)
		defer cancel()
		go func() {
			<-w.nodes["mid"].ended
			time.AfterFunc(patienceGone, cancel)
		}()
		for !done && ctx.Err() == nil {
			code := w.until(ctx, w.handOver()...)
			done, w.acked = code == 0, w.acked || code == 0 || code == told
			time.Sleep(patienceGone)
		}
	}
	if w.run.fault == "" && !done {
		w.wrong("nothing befell the coordinator, and it has not made the copy")
	}
	return w.stop("mid")
}

func (w *world) handOver() []string {
	return []string{"place", "new", "--data", "src", "--replicas", "1", "--coordinator",
		strings.TrimPrefix(w.address("mid"), "wss://")}
}

// checkCoordinated: where the owner's machine was told that it may go, the coordinator alone sees to it that new comes
// back from another node, and in the end that is so in any case.
func checkCoordinated(w *world, o outcome) {
	w.mid = true
	fetch := append([]string{"fetch", "new", "--data", "far", "-o", "back", "--force"}, w.peer()...)
	if w.acked {
		if w.nodes["src"] != nil {
			w.stop("src")
		}
		w.startThese("dst", "mid")
		w.in(limit, fetch...)
		if !w.same("back", 2, 3) {
			w.wrong("new comes back from the coordinator's copy as something else")
		}
	}
	w.startBoth()
	w.in(limit, w.handOver()...)
	w.brings("src", "old", 1, 2)
	w.brings("src", "new", 2, 3)
	for _, data := range w.names() {
		w.must("gc", "--data", data)
		if !w.answers(data, limit, func(s status) bool { return s.Reserved == 0 }) {
			w.wrong("the node of %s has promised room still", data)
		}
	}
	w.stop("mid")
	w.must(fetch...)
	w.stopAll()
	for _, data := range w.names() {
		if data != "src" {
			w.must("verify", "--data", data)
		}
		w.must("ledger", "verify", "--data", data)
	}
}

// in does it until it ends with 0.
func (w *world) in(within time.Duration, args ...string) {
	for until := time.Now().Add(within); w.do(args...) != 0; time.Sleep(patienceGone) {
		if time.Now().After(until) {
			w.wrong("bkp %s does not end with 0 within %s", strings.Join(args, " "), within)
		}
	}
}
