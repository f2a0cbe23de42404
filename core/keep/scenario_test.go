// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/keep/serve"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/scenariotest"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// TestScenarios plays testdata/*.txt: a command, a line ----, what comes of it, an empty line. scene.do lists the
// commands. Peers are source, carrier and other; t1 is a task with the licence 1; a:100+50 is a run
// of two chunks, of 100 and of 50 kB. The target takes 1 MB.
func TestScenarios(t *testing.T) {
	scenariotest.Each(t, "testdata/*.txt", func(t *testing.T, file string) {
		synctest.Test(t, func(t *testing.T) {
			s := &scene{stage: newStage(t, nil), offers: map[string]offered{}}
			s.said()
			var did string
			do := func(words []string) error { did += s.do(words); return nil }
			scenariotest.Play(t, file, do, func() string {
				all := strings.TrimSpace(did + "\n" + s.said())
				did = ""
				return cmp.Or(all, "nothing") + "\n"
			})
		})
	})
}

// scene is a stage that takes commands.
type scene struct {
	*stage
	offers map[string]offered // by task and segment
}

// do carries out a command; options are words with = in them.
func (s *scene) do(words []string) string {
	args, options := scenariotest.Options(words[1:])
	option := func(name, otherwise string) string {
		if value, is := options[name]; is {
			return value
		}
		return otherwise
	}
	from := option("from", "source")
	switch words[0] {
	case "offer": // TASK RUN... [from=PEER] [seg=N] [licence=N] [source=PEER] [by=PEER] [span=A-B] [says=kB of run 0]
		o := s.makeOffer(args[0], args[1:], option)
		s.offers[args[0]+"."+option("seg", "0")] = o
		s.Ask(func(st *State) { st.Offer(s.id(from), true, o.StorageTask) })
	case "apply": // FLOW TASK A-B [from=PEER] [seg=N]
		o := s.offers[args[1]+"."+option("seg", "0")]
		if o.Task.IsZero() {
			o.Task = core.TaskID{number(args[1][1:])}
		}
		s.apply(uint64(number(args[0])), from, o, span(args[2]))
	case "bring": // FLOW TASK RUN [seg=N]: begin it, send it whole
		o := s.offers[args[1]+"."+option("seg", "0")]
		if err := s.bring(uint64(number(args[0])), o, int(number(args[2]))); err != nil {
			return "error: " + err.Error()
		}
	case "abort": // FLOW: its other end does
		s.abort(uint64(number(args[0])))
	case "wait":
		d, err := time.ParseDuration(args[0])
		check(s.t, err)
		time.Sleep(d)
	case "away", "back": // PEER
		s.mu.Lock()
		s.away[args[0]] = words[0] == "away"
		s.mu.Unlock()
		if words[0] == "back" {
			s.Ask(func(st *State) { st.Met(s.id(args[0])) })
		}
	case "restarted": // PEER
		s.Ask(func(st *State) { st.Restarted(s.id(args[0])) })
	case "outlived": // what the loop asks now and then
		s.Ask(func(st *State) { st.DropOutlived() })
	case "release": // TASK [owner=NAME]
		s.release(core.TaskID{number(args[0][1:])}, option("owner", "owner"), from)
	case "space":
		used, reserved, remaining := s.space()
		return fmt.Sprintf("used %s, reserved %s, remaining %s", kB(used), kB(reserved), kB(remaining))
	case "segment": // TASK [seg=N]
		return s.segment(core.TaskID{number(args[0][1:])}, int(number(option("seg", "0"))))
	case "fail", "mend": // put, barrier, used, has, or the ledger
		why := errDown
		if words[0] == "mend" {
			why = nil
		}
		if args[0] == "ledger" {
			s.ledger.Fail(why)
		} else {
			s.store.Fail(args[0], why)
		}
	case "lose": // RUN: its first chunk, behind the target's back
		s.store.Lose(run(args[0], 0).Chunks[0])
	case "check":
		found, err := s.target.Check(s.ctx)
		if err != nil {
			return "error: " + err.Error()
		}
		return damageText(found)
	case "collect":
		freed, err := s.target.Collect(s.ctx)
		if err != nil {
			return "error: " + err.Error()
		}
		return "freed " + kB(freed.Freed)
	case "restart":
		s.stop()
		s.start()
	case "gain": // FLOW RUN[/CHUNK]... [owner=NAME] [from=PEER]
		s.gain(uint64(number(args[0])), s.owners[option("owner", "owner")].ID(), from, args[1:])
	case "record", "ref", "refs", "getref": // see refs
		s.refs(words[0], args, option, from)
	case "more": // yes or no: whether more of the task is to come
		s.lacking = args[0] == "yes"
	case "degrade", "recover": // KEY
		if s.Recover(args[0]); words[0] == "degrade" {
			s.Degrade(args[0], args[0]+" is broken", true)
		}
	case "reasons":
		why, _ := s.Refuses()
		return why
	default:
		s.t.Fatalf("no command %q", words[0])
	}
	return ""
}

func number(text string) byte {
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		panic(err)
	}
	return byte(n)
}

func span(text string) core.Range {
	first, last, more := strings.Cut(text, "-")
	r := core.Range{Start: int(number(first)), Length: 1}
	if more {
		r.Length = int(number(last)) - r.Start + 1
	}
	return r
}

// makeOffer makes an offer. A run =a:100+50/10 is one of an earlier task, of which the marked chunks are used.
func (s *scene) makeOffer(name string, runs []string, option func(name, otherwise string) string) offered {
	reused := slices.DeleteFunc(slices.Clone(runs), func(r string) bool { return !strings.Contains(r, "/") })
	fresh := slices.DeleteFunc(slices.Clone(runs), func(r string) bool { return strings.Contains(r, "/") })
	return s.offer(int(number(name[1:])), fresh, func(o *offered) {
		o.Segment = int(number(option("seg", "0")))
		o.license.Segment = o.Segment
		for _, text := range reused {
			text, marks, _ := strings.Cut(text, "/")
			p := run(text, 0)
			bits := core.NewBitmap(len(p.Chunks))
			for i, m := range marks {
				if m == '1' {
					bits.Set(i)
				}
			}
			o.pieces = append(o.pieces, p)
			o.Reused = append(o.Reused, core.Reused{File: p.File, Task: core.TaskID{9}, Chunks: bits})
		}
		if size := option("says", ""); size != "" {
			o.Files[0].Size = 1000 * core.Size(number(size))
		}
		if id := option("licence", ""); id != "" {
			o.license.ID = core.LicenseID{number(id)}
		}
		o.license.TaskSource.Node = s.id(option("source", "source"))
		o.license.Targets = append(o.license.Targets, s.id("other"))
		o.license.Carriers = []core.ID{s.id("carrier")}
		own := span(option("span", fmt.Sprintf("0-%d", len(o.pieces)-1)))
		o.Locations = []core.Span{{Node: s.id("self"), From: s.id(option("by", "source")), Start: own.Start,
			Length: own.Length}}
	})
}

// segment is what the loop knows of a segment.
func (s *scene) segment(task core.TaskID, number int) (text string) {
	s.Ask(func(st *State) {
		seg := st.Segment(task, number)
		if seg == nil {
			text = "not known"
			return
		}
		text = fmt.Sprintf("has %s, durable %s, lacks %s, arriving %s, promised %s", runsOf(seg.Runs(), seg.Has),
			runsOf(seg.Runs(), seg.Durable), runsOf(seg.Runs(), seg.Lacks), rangesText(seg.Arriving()),
			kB(seg.promised))
	})
	return text
}

func damageText(found Records) string {
	lines := []string{}
	for _, d := range found.Damage {
		lines = append(lines, d.Key+": "+d.Text)
	}
	for _, l := range found.Lost {
		lines = append(lines, fmt.Sprintf("lost: runs %v of t%d.%d, %s, known %v", l.Runs, l.Task[0], l.Number,
			kB(l.Bytes), l.Known))
	}
	for _, r := range found.Refs {
		lines = append(lines, fmt.Sprintf("lost: a record of version %d", r.Version))
	}
	if len(lines) == 0 {
		return "no damage"
	}
	return strings.Join(lines, "\n")
}

// gain asks for runs as a fetch does, and takes the first of each grant.
func (s *scene) gain(flow uint64, owner core.ID, from string, runs []string) {
	m := wire.GainApply{Flow: flow, Owner: owner, Rate: 1000}
	for _, text := range runs {
		text, marks, some := strings.Cut(text, "/")
		p := run(text, 0)
		r := wire.GainRun{Hash: p.Hash}
		if some {
			r.Chunks = core.NewBitmap(len(p.Chunks))
			for i, mark := range marks {
				if mark == '1' {
					r.Chunks.Set(i)
				}
			}
		}
		m.Runs = append(m.Runs, r)
	}
	s.Ask(func(st *State) {
		st.Find(m, WholeOf, func(_ *State, found serve.Asked) {
			server, f := serve.NewServer(), task.NewFlow(flow, task.Grantor, true)
			e := server.Apply(f, found)
			e.Rate, e.Free, e.Nominal, e.Lease = 1000, 1000, 1000, flow
			actions, err := f.Step(e)
			check(s.t, err)
			for _, a := range actions {
				switch a.Kind {
				case task.SendAgree:
					s.Send(s.id(from), server.Agree(f, a, 0))
					for _, r := range a.Runs {
						begin, _ := server.Outgoing(r.Number)
						(*played)(s.stage).note("run %d goes with %d chunks", r.Number, len(begin.Chunks))
						server.Settled(r.Number)
					}
				case task.SendRefuse:
					s.Send(s.id(from), server.Refuse(f, a))
				default: // accounts
				}
			}
		})
	})
}

// refs plays what a source says of refs:
//
//	record TASK NAME SIZE [piece=N]  a segment record in pieces of so many kB
//	ref TASK VERSION [content=N] [v=1|2] [records=NAME:SIZE,...]
//	refs [limit=N] [after=N]         those of the owner
//	getref VERSION [record=NAME:SIZE] [offset=N] [v=1|2]
func (s *scene) refs(command string, args []string, option func(name, otherwise string) string, from string) {
	owner := s.owners[option("owner", "owner")]
	atoi := func(text string) int {
		n, err := strconv.Atoi(text)
		check(s.t, err)
		return n
	}
	record := func(text string) ([]byte, core.Chunk) {
		p := run(text, 0)
		return p.data[0], p.Chunks[0]
	}
	alias := owner.Alias("abc")
	switch command {
	case "record":
		data, c := record(args[1] + ":" + args[2])
		size := 1000 * atoi(option("piece", args[2]))
		for at := 1000 * atoi(option("offset", "0")); at < len(data); at += size {
			m := wire.RefPut{Query: 1, Owner: owner.ID(), Alias: alias, Version: 1,
				Task: core.TaskID{number(args[0][1:])}, Record: c.Hash, Size: c.Size,
				Offset: core.Size(at), Data: data[at:min(at+size, len(data))]}
			if option("spoilt", "") != "" {
				m.Data = slices.Clone(m.Data)
				m.Data[0]++
			}
			s.Ask(func(st *State) { st.PutRef(s.id(from), s.id(from), m) })
		}
	case "ref":
		version := atoi(args[1])
		body := key.RefBody{Name: "abc", Root: core.Sealed{Hash: core.Hash{number(option("content", "1"))}, Size: 1,
			Key: [32]byte{1}, Plain: 1}}
		envelope, err := owner.SealRef(key.Ref{V: atoi(option("v", "2")), Version: version,
			Created: time.Now().Unix()}, body)
		check(s.t, err)
		m := wire.RefPut{Query: 1, Owner: owner.ID(), Alias: alias, Version: atoi(option("says", args[1])),
			Task: core.TaskID{number(args[0][1:])}, Ref: envelope}
		for text := range strings.SplitSeq(option("records", ""), ",") {
			if text != "" {
				_, c := record(text)
				m.Records = append(m.Records, c)
			}
		}
		s.Ask(func(st *State) { st.PutRef(s.id(from), s.id(from), m) })
	case "refs":
		m := wire.RefList{Query: 1, Owner: owner.ID(), After: atoi(option("after", "0")),
			Limit: atoi(option("limit", "0"))}
		s.Ask(func(st *State) { st.ListRefs(s.id(from), WholeOf, option("v", "2") == "2", m) })
	case "getref":
		m := wire.RefGet{Query: 1, Owner: owner.ID(), Alias: alias, Version: atoi(args[0]),
			Offset: 1000 * core.Size(atoi(option("offset", "0")))}
		if text := option("record", ""); text != "" {
			_, c := record(text)
			m.Record = c.Hash
		}
		s.Ask(func(st *State) { st.GetRef(s.id(from), WholeOf, option("v", "2") == "2", m) })
	}
}
