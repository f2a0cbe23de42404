package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"

	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/urfave/cli/v2"
)

func verifyCommand() *cli.Command {
	return command(spec{
		name: "verify", args: "[NAME[@VERSION]]", most: 1,
		usage: "look whether every chunk is there and right, and name the bytes of the file that are not",
		about: "What is on this machine is read, held against its hash and opened. What is not is looked for at its holders by the records. " +
			"Without a name all versions are verified, and every pack of this data directory with what is kept for others. Nothing is written but " +
			"a note of what is damaged, so that the next split stores it anew. A verification that was interrupted goes on where it was. Wrong bytes end it with code 14, missing ones with 13.",
		examples: `bkp verify
			bkp verify big.iso
			bkp verify big.iso@3 --sample 5%
			bkp verify big.iso --presence --remote
			bkp verify --full --remote --peers wss://a.example:8001 --token-file token`,
		flags: append(append([]cli.Flag{
			boolFlag("full", "read every chunk; with --remote also those at every holder (default for what is on this machine)"),
			textFlag("sample", "", "read only this `SHARE` of the chunks, drawn anew each time, as 5%"),
			boolFlag("presence", "read nothing, look only whether it is there"),
			boolFlag("remote", "ask the holders also about what is on this machine; every one on record must answer"),
			boolFlag("restart", "begin anew where an earlier verification was interrupted"),
		}, networkFlags()...), identityFlags()...),
		reads: true,
		do:    doVerify,
	})
}

// verifiedVersion is what a verification found of a version.
type verifiedVersion struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	file.Verified
	Elsewhere *control.VerifyResult `json:"elsewhere,omitempty"` // what the holders were asked
	Problem   string                `json:"problem,omitempty"`   // why they could not be

	unknown bool // here: only peers may know it
}

// verifySummary is what a verification came to.
type verifySummary struct {
	Versions int           `json:"versions"`
	Packs    int           `json:"packs"`
	Read     core.Size     `json:"read_bytes"`    // stored
	Missing  core.Size     `json:"missing_bytes"` // of the files
	Wrong    core.Size     `json:"wrong_bytes"`   // of the files
	Damage   []packDamage  `json:"damage,omitempty"`
	Records  []core.Damage `json:"records,omitempty"` // of what is kept for others, where they disagree
	problems []verifyTrace // what makes the command fail, first to last
}

type packDamage struct {
	Store string `json:"store"`
	disk.Damage
}

type verifyTrace struct {
	code core.Code
	text string
}

func doVerify(ctx context.Context, c *call) error {
	name, version, err := nameVersion(c.Args().First())
	if err != nil {
		return err
	}
	here, there, err := c.shares()
	if err != nil {
		return err
	}
	o, err := c.ownerIfAny()
	if err != nil {
		return err
	}
	v := &verification{call: c, owner: o, there: there, state: c.house.verifyState(c.Args().First(), here, c.Bool("restart"))}
	if v.state.resumed {
		c.Say("going on with the verification that was interrupted; --restart begins anew")
	}
	versions, err := v.choose(ctx, name, version)
	if err != nil && (core.CodeOf(err) != core.CodeWrong || len(versions) == 0) {
		return err
	}
	v.refs = err
	local, err := c.house.localChunks(ctx)
	if err != nil {
		return err
	}
	defer local.Close()
	v.reader = &file.Verifier{Local: local, Share: here}
	if o != nil {
		v.reader.Secrets = chunk.NewSecrets(o.DedupSecret)
	}
	for _, x := range versions {
		if err := v.version(ctx, x); err != nil {
			return err
		}
	}
	if name == "" {
		if err := v.packs(ctx, here); err != nil {
			return err
		}
	}
	if err := v.askHolders(ctx); err != nil {
		return err
	}
	if name == "" {
		if err := v.records(ctx); err != nil {
			return err
		}
	}
	v.state.remove()
	v.sum()
	return errors.Join(render.List(c.Console, v.rows, v.summary, v.draw), v.failure())
}

// shares is how much is read here and at the holders.
func (c *call) shares() (here, there float64, err error) {
	here = 1
	switch {
	case c.String("sample") != "" && (c.Bool("full") || c.Bool("presence")) || c.Bool("full") && c.Bool("presence"):
		return 0, 0, usageError("--full, --sample and --presence exclude one another")
	case c.Bool("presence"):
		here = 0
	case c.String("sample") != "":
		number, percent := strings.CutSuffix(c.String("sample"), "%")
		here, err = strconv.ParseFloat(number, 64)
		if percent {
			here /= 100
		}
		if err != nil || !(here > 0 && here <= 1) {
			return 0, 0, usageError("--sample %q: want a share as 5%%, above 0 and up to 100%%", c.String("sample"))
		}
	}
	if c.Bool("remote") && (c.Bool("full") || c.String("sample") != "") {
		there = here
	}
	return here, there, nil
}

// verification is one under way.
type verification struct {
	*call
	owner   *key.Owner
	there   float64 // the share read at holders
	reader  *file.Verifier
	state   *verifyState
	refs    error // those that are damaged
	rows    []verifiedVersion
	summary verifySummary
}

// choose lists what is to be verified: one version, or all that this machine or, without any here, a peer knows.
func (v *verification) choose(ctx context.Context, name string, version int) ([]versionRef, error) {
	if v.owner == nil {
		if name == "" {
			return nil, nil // a machine that keeps for others
		}
		return nil, noSuchName(name, version)
	}
	refs := v.house.refs()
	if name == "" {
		return refs.open(v.owner)
	}
	found, err := refs.find(v.owner, name, version)
	if core.CodeOf(err) == core.CodeNoName && v.reachable() {
		v.rows = append(v.rows, verifiedVersion{Name: name, Version: version, unknown: true})
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []versionRef{found}, nil
}

// reachable tells whether there is anybody to ask.
func (v *verification) reachable() bool { return v.house.hasNode() || v.peerList(v.owner) != "" }

// version reads what is on this machine of a version.
func (v *verification) version(ctx context.Context, x versionRef) error {
	name := render.Versioned(x.body.Name, x.ref.Version)
	known := v.state.Versions[x.body.Root.Hash]
	var err error
	if !known.Done {
		progress := v.Phase("verify "+name, x.body.Size)
		known.Verified, err = v.reader.Verify(ctx, x.body.Root, x.body.Size, known.Verified, func(so file.Verified) error {
			progress(so.At)
			return v.state.keep(x.body.Root.Hash, versionProgress{Verified: so})
		})
		if err == nil {
			err = v.state.keep(x.body.Root.Hash, versionProgress{Verified: known.Verified, Done: true})
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", name, err), v.state.save())
	}
	v.rows = append(v.rows, verifiedVersion{Name: x.body.Name, Version: x.ref.Version, Verified: known.Verified})
	return nil
}

// packs looks through the stores: what belongs to no version, and what a pack has beside its chunks.
func (v *verification) packs(ctx context.Context, share float64) error {
	for _, name := range []string{"staging", "holdings"} {
		at := v.state.Packs[name]
		progress := v.Phase("verify "+name, 0)
		var done core.Size
		err := disk.Check(ctx, v.house.path(name), at.After, func(hash core.Hash) bool {
			return !v.reader.Seen(hash) && draw(share)
		}, func(p disk.Checked) error {
			done += p.Bytes
			progress(done)
			at.After, at.Packs, at.Read = p.Pack, at.Packs+1, at.Read+p.Bytes
			at.Damage = append(at.Damage, p.Damage...)
			for _, d := range p.Damage {
				if v.house.isForeign() {
					break
				}
				disk.Note(v.house.path(name), d)
			}
			return v.state.keepPacks(name, at)
		})
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", name, err), v.state.save())
		}
		index, read, err := disk.CheckIndex(ctx, v.house.path(name), share > 0)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", name, err), v.state.save())
		}
		v.summary.Packs += at.Packs
		v.summary.Read += at.Read + read
		for _, d := range append(at.Damage, index...) {
			v.summary.Damage = append(v.summary.Damage, packDamage{name, d})
		}
	}
	return nil
}

// records holds what this machine says that it keeps for others against what it has.
func (v *verification) records(ctx context.Context) error {
	found, err := v.checkRecords(ctx)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		v.Say("warning: whether all is here that this machine keeps for others cannot be told: %v", err)
		return nil
	}
	v.summary.Records = found.Damage
	return err
}

// askHolders asks about versions of which something is not here, or with --remote about all.
func (v *verification) askHolders(ctx context.Context) error {
	var ask []*verifiedVersion
	for i := range v.rows {
		if x := &v.rows[i]; x.Missing > 0 || x.unknown || v.Bool("remote") {
			ask = append(ask, x)
		}
	}
	if len(ask) == 0 || !v.reachable() && !v.Bool("remote") {
		return nil
	}
	return v.withNode(ctx, func(s session) error {
		for _, x := range ask {
			var r control.VerifyResult
			err := s.Call(ctx, control.CommandVerify, control.VerifyArgs{
				Name: x.Name, Version: x.Version, All: v.Bool("remote"), Share: v.there,
			}, &r, v.Status)
			switch code := core.CodeOf(err); {
			case err == nil:
				x.Elsewhere, x.Version = &r, r.Version
			case code == core.CodeRedundant || code == core.CodeNoName && !x.unknown:
				x.Problem = err.Error()
			default:
				return err
			}
		}
		return nil
	})
}

// sum puts together what is wrong, whatever it was found by.
func (v *verification) sum() {
	s := &v.summary
	s.Versions = len(v.rows)
	if v.refs != nil {
		s.add(core.CodeWrong, "%v", v.refs)
	}
	for i := range v.rows {
		x := &v.rows[i]
		name := render.Versioned(x.Name, x.Version)
		s.Read += x.Read
		s.Wrong += x.Wrong
		if x.Wrong > 0 {
			s.add(core.CodeWrong, "%s: %s wrong on this machine", name, x.Wrong)
		}
		if e := x.Elsewhere; e != nil {
			s.Read += e.Read
			x.Hurt = append(withoutMissing(x.Hurt), e.Hurt...) // what is missing here was looked for there
			s.elsewhere(name, e, v.Bool("remote"))
			e.Hurt = nil
			continue
		}
		s.Missing += x.Missing
		if x.Missing > 0 {
			s.add(core.CodeRedundant, "%s: %s missing%s", name, x.Missing, because(x.Problem))
		} else if x.Problem != "" {
			s.add(core.CodeRedundant, "%s: %s", name, x.Problem)
		}
	}
	for _, d := range s.Records {
		s.add(core.CodeWrong, "%s", d.Text)
	}
	if n := len(s.Damage); n > 0 {
		s.add(core.CodeWrong, "%s in the stores of this machine", render.Counted(n, "damaged place"))
	}
}

// elsewhere adds what the holders were found to lack.
func (s *verifySummary) elsewhere(name string, r *control.VerifyResult, all bool) {
	var nowhere, wrong core.Size
	lacking := map[core.ID]core.Size{}
	for _, h := range r.Hurt {
		switch {
		case h.Wrong:
			wrong += h.Length
		case h.Node.IsZero():
			nowhere += h.Length
		default:
			lacking[h.Node] += h.Length
		}
	}
	s.Missing += nowhere
	s.Wrong += wrong
	if nowhere > 0 {
		s.add(core.CodeRedundant, "%s: %s can be had from nowhere", name, nowhere)
	}
	if wrong > 0 {
		s.add(core.CodeWrong, "%s: %s wrong at holders", name, wrong)
	}
	for _, h := range r.Holders {
		if len(h.Degraded) > 0 {
			s.add(core.CodeRedundant, "%s: %s %s is degraded: %s", name, h.Node.Short(), h.Address, strings.Join(h.Degraded, ", "))
		}
		switch {
		case lacking[h.Node] > 0:
			s.add(core.CodeRedundant, "%s: %s %s lacks %s", name, h.Node.Short(), h.Address, lacking[h.Node])
		case all && h.Problem != "":
			s.add(core.CodeRedundant, "%s: %s: %s", name, h.Node.Short(), h.Problem)
		}
	}
}

func (s *verifySummary) add(code core.Code, format string, args ...any) {
	s.problems = append(s.problems, verifyTrace{code, fmt.Sprintf(format, args...)})
}

func because(problem string) string {
	if problem == "" {
		return ""
	}
	return " (" + problem + ")"
}

func withoutMissing(hurts []core.Hurt) (wrong []core.Hurt) {
	for _, h := range hurts {
		if h.Wrong {
			wrong = append(wrong, h)
		}
	}
	return wrong
}

// failure is the error that what was found comes to: wrong bytes weigh more than missing ones.
func (v *verification) failure() error {
	if len(v.summary.problems) == 0 {
		return nil
	}
	code := core.CodeRedundant
	var texts []string
	for _, p := range v.summary.problems {
		code = max(code, p.code)
		if len(texts) < 5 {
			texts = append(texts, p.text)
		}
	}
	if more := len(v.summary.problems) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	if len(v.summary.Records) > 0 && len(v.rows) == 0 {
		return core.WithHint(core.Fail(code, "verify: %s", strings.Join(texts, "; ")), "stop the node that keeps it, and: bkp node repair --data %s", v.house.dir)
	}
	return core.WithHint(core.Fail(code, "verify: %s", strings.Join(texts, "; ")),
		"where the file is still there, split it again: what is damaged here is stored anew, and bkp gc drops the damaged; "+
			"else bkp fetch brings what a holder still has, and with --partial all but the holes")
}

// draw shows a line a version, a line a holder, and every hurt stretch.
func (v *verification) draw(t *render.Table) {
	if len(v.rows) > 0 {
		t.Header("version", "chunks", "read", "not here", "wrong here", "at holders")
	}
	for _, x := range v.rows {
		t.Row(render.Versioned(x.Name, x.Version), x.Chunks, x.Read, x.Missing, x.Wrong, elsewhereText(x))
	}
	for _, x := range v.rows {
		if x.Elsewhere != nil {
			drawHolders(t, render.Versioned(x.Name, x.Version), x.Elsewhere)
		}
	}
	for _, x := range v.rows {
		for _, h := range x.Hurt {
			t.Line("%s: bytes %d-%d %s: %s", render.Versioned(x.Name, x.Version), h.Start, h.Start+h.Length, hurtWhere(h), h.Reason)
		}
	}
	for _, d := range v.summary.Records {
		t.Line("%s", d.Text)
	}
	for _, d := range v.summary.Damage {
		t.Line("%s/%s at %d: %s", d.Store, d.File, d.Offset, d.Reason)
	}
	t.Line("%s and %s verified, %s read, %s missing, %s wrong", render.Counted(v.summary.Versions, "version"),
		render.Counted(v.summary.Packs, "pack"), v.summary.Read, v.summary.Missing, v.summary.Wrong)
}

func elsewhereText(x verifiedVersion) string {
	switch {
	case x.Problem != "":
		return x.Problem
	case x.Elsewhere == nil:
		return "-"
	}
	return fmt.Sprintf("%s of %s, kept %d times", render.Counted(x.Elsewhere.Chunks, "chunk"), x.Elsewhere.Bytes,
		x.Elsewhere.Copies)
}

func drawHolders(t *render.Table, name string, r *control.VerifyResult) {
	t.Line("")
	t.Header("holder of "+name, "address", "runs", "kept", "bytes", "problem")
	for _, h := range r.Holders {
		t.Row(h.Node, h.Address, h.Runs, h.Kept, h.Bytes, h.Problem)
	}
}

func hurtWhere(h core.Hurt) string {
	word := "missing"
	if h.Wrong {
		word = "wrong"
	}
	if h.Node.IsZero() {
		return word
	}
	return word + " at " + h.Node.Short()
}
