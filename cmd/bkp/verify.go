// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/urfave/cli/v2"
)

func verifyCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "verify", Args: "[NAME[@VERSION]]", Most: 1,
		Usage: "look whether every chunk is there and right, and name the bytes of the file that are not",
		About: "What is on this machine is read, held against its hash and opened. What is not is looked for at " +
			"the peers that keep it, by the records. Without a name all versions are verified, and every pack of " +
			"this data directory with what is kept for others. Nothing is written but a note of what is damaged, " +
			"so that the next split stores it anew. A verification that was interrupted goes on where it was. " +
			"Wrong bytes end it with code 14, missing ones with 13, and with 3 where all can be had and fewer " +
			"copies than are on record.",
		Examples: `bkp verify
			bkp verify big.iso
			bkp verify big.iso@3 --sample 5%
			bkp verify big.iso --presence --remote
			bkp verify disk.img --against /dev/vg/disk
			bkp verify --full --remote --peers wss://a.example:8001 --token-file token`,
		Flags: command.NodeFlags(
			line.Bool("full", "read every chunk; with --remote also those at every peer that keeps some (default "+
				"for what is on this machine)"),
			line.Text("sample", "", "read only this `SHARE` of the chunks, drawn anew each time, as 5%"),
			line.Bool("presence", "read nothing, look only whether it is there"),
			line.Bool("remote", "ask the peers also about what is on this machine; every one on record must answer"),
			line.Text("against", "", "hold `FILE` against the version instead: name the bytes in which they differ"),
			line.Bool("all", "with --against: list every range"),
			line.Bool("restart", "begin anew where an earlier verification was interrupted"),
		),
		Reads: true,
		Do:    doVerify,
	})
}

func doVerify(ctx context.Context, c *command.Call) error {
	name, version, err := line.NameVersion(c.Args().First())
	if err != nil {
		return err
	}
	if path := c.String("against"); path != "" {
		return verifyAgainst(ctx, c, name, version, path)
	}
	here, there, err := shares(c)
	if err != nil {
		return err
	}
	o, err := c.OwnerIfAny()
	if err == nil && o != nil && o.MayRead() != nil {
		if err = o.MayRead(); name == "" { // what it keeps for others it can look through
			c.Say("versions are not verified: %v", err)
			o, err = nil, nil
		}
	}
	if err != nil {
		return err
	}
	v := &verifying{Call: c, owner: o, there: there}
	versions, err := v.choose(ctx, name, version)
	if err != nil && (core.CodeOf(err) != core.CodeWrong || len(versions) == 0) {
		return err
	}
	v.refs = err
	if v.here, err = c.Dir.Verify(ctx, c.Args().First(), here, c.Bool("restart"), o); err != nil {
		return err
	}
	defer v.here.Close()
	if v.here.Resumed() {
		c.Say("going on with the verification that was interrupted; --restart begins anew")
	}
	for _, x := range versions {
		if err := v.version(ctx, x); err != nil {
			return err
		}
	}
	if name == "" {
		if err := v.packs(ctx); err != nil {
			return err
		}
	}
	if err := v.askPeers(ctx); err != nil {
		return err
	}
	if name == "" {
		if err := v.records(ctx); err != nil {
			return err
		}
	}
	v.here.Done()
	v.sum()
	return errors.Join(render.ListDone(c.Console, v.rows, v.summary,
		func(t *render.Table) { v.summary.Draw(t, v.rows) }),
		v.failure())
}

// shares is how much is read here and at peers.
func shares(c *command.Call) (here, there float64, err error) {
	here = 1
	switch {
	case c.String("sample") != "" && (c.Bool("full") || c.Bool("presence")) || c.Bool("full") && c.Bool("presence"):
		return 0, 0, line.UsageError("--full, --sample and --presence exclude one another")
	case c.Bool("presence"):
		here = 0
	case c.String("sample") != "":
		if here, err = c.Share("sample"); err != nil {
			return 0, 0, err
		}
	}
	if c.Bool("remote") && (c.Bool("full") || c.String("sample") != "") {
		there = here
	}
	return here, there, nil
}

// verifying is a verification under way.
type verifying struct {
	*command.Call
	owner    *key.Owner
	there    float64 // the share read at targets
	here     *datadir.Verification
	refs     error // those that are damaged
	rows     []render.VerifiedVersion
	unknown  bool // of the one row nothing is here: only peers may know it
	summary  render.Verification
	problems []verifyProblem // what makes the command fail, first to last
}

// choose lists what is to be verified: one version, or all that this machine or, without any here, a peer knows.
func (v *verifying) choose(ctx context.Context, name string, version int) ([]datadir.Version, error) {
	if v.owner == nil {
		if name == "" {
			return nil, nil // a machine that keeps for others
		}
		return nil, datadir.NoSuchName(name, version)
	}
	refs := v.Dir.Refs()
	if name == "" {
		return refs.Open(v.owner)
	}
	found, err := refs.Find(v.owner, name, version)
	if core.CodeOf(err) == core.CodeNoName && v.reachable() {
		v.rows, v.unknown = append(v.rows, render.VerifiedVersion{Name: name, Version: version}), true
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []datadir.Version{found}, nil
}

// reachable tells whether there is anybody to ask.
func (v *verifying) reachable() bool { return v.Dir.HasNode() || v.PeerList(v.owner) != "" }

// version reads what is on this machine of a version.
func (v *verifying) version(ctx context.Context, x datadir.Version) error {
	found, err := v.here.Version(ctx, x, v.Phase("verify "+x.Title(), x.Body.Size))
	if err == nil {
		v.rows = append(v.rows, render.VerifiedVersion{Name: x.Body.Name, Version: x.Ref.Version, Verified: found})
	}
	return err
}

// packs looks through the stores.
func (v *verifying) packs(ctx context.Context) error {
	for _, store := range datadir.StoreNames {
		found, err := v.here.Packs(ctx, store, v.Phase("verify "+store, 0))
		if err != nil {
			return err
		}
		v.summary.Packs += found.Packs
		v.summary.Read += found.Read
		for _, d := range found.Damage {
			v.summary.Damage = append(v.summary.Damage, render.PackDamage{Store: store, Damage: d})
		}
	}
	return nil
}

// records holds what this machine says that it keeps for others against what it has.
func (v *verifying) records(ctx context.Context) error {
	found, err := checkRecords(ctx, v.Call)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		v.Say("warning: whether all is here that this machine keeps for others cannot be told: %v", err)
		return nil
	}
	v.summary.Records = found.Damage
	return err
}

// askPeers asks about versions of which something is not here, or with --remote about all.
func (v *verifying) askPeers(ctx context.Context) error {
	var ask []*render.VerifiedVersion
	for i := range v.rows {
		if x := &v.rows[i]; x.Missing > 0 || v.unknown || v.Bool("remote") {
			ask = append(ask, x)
		}
	}
	if len(ask) == 0 || !v.reachable() && !v.Bool("remote") {
		return nil
	}
	return v.With(ctx, func(n control.Caller) error {
		for _, x := range ask {
			var r control.VerifyResult
			err := n.Call(ctx, control.CommandVerify, control.VerifyArgs{
				Name: x.Name, Version: x.Version, All: v.Bool("remote"), Share: v.there,
			}, &r, v.Status)
			switch code := core.CodeOf(err); {
			case err == nil:
				x.Elsewhere, x.Version = &r, r.Version
			case code == core.CodeRedundant || code == core.CodeNoName && !v.unknown:
				x.Problem = err.Error()
			default:
				return err
			}
		}
		return nil
	})
}

// checkRecords has the running node hold the records of what is kept here against each other, or does it, where there
// are any.
func checkRecords(ctx context.Context, c *command.Call) (found keep.Records, err error) {
	if caller, err := c.Running(); err == nil {
		var told control.RecordsResult
		err := caller.Call(ctx, control.CommandRecords, control.None{}, &told, c.Status)
		return keep.Records{Damage: told.Damage}, err
	}
	return c.Dir.CheckRecords(ctx)
}
