// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"fmt"
	"io"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/manifest"
)

// Restore is an Assembly with its output and its seed named by paths.
type Restore struct {
	Assembly
	Path  string    // the file or block device to write
	Out   io.Writer // takes the bytes in order instead; nil: none
	Force bool      // replace a file; needed for a device
	Seed  string    // an older version of the file; "" for none
	Mode  uint32    // permissions of a file that is made; 0: its owner alone may read and write it
}

// output is an Output that ends.
type output interface {
	Output
	Commit() error
	Abort(keep bool) (kept string) // the path of what is left for another try, "" for none
}

// Run opens the output, puts the file together and gives it its name. A Start and End of 0 are all of it. Where it
// fails nothing stands under the name, and what was in place is found by the next try.
func (r Restore) Run(ctx context.Context) (Assembled, error) {
	info, err := manifest.Stat(r.Root, &nodeOpener{ctx, r.Local, chunk.NewOpener()})
	if err != nil {
		return Assembled{}, err
	}
	if r.Start == 0 && r.End == 0 {
		r.End = info.Size
	}
	if r.Start < 0 || r.End > info.Size || r.Start > r.End {
		return Assembled{}, core.Fail(core.CodeUsage, "range %d-%d leaves the file's %d bytes", r.Start, r.End,
			info.Size)
	}
	if r.Seed != "" {
		p := chunk.Params{Method: info.Method, Min: info.Min, Avg: info.Avg, Max: info.Max}
		seed, err := OpenSeed(ctx, r.Seed, r.Secrets, p)
		if err != nil {
			return Assembled{}, err
		}
		defer seed.Close()
		r.Seeds = append(r.Seeds, seed)
	}
	out, err := r.open(ctx)
	if err != nil {
		return Assembled{}, err
	}
	r.Output = out
	done, err := Assemble(ctx, r.Assembly)
	if err != nil {
		if kept := out.Abort(done.Bytes >= keepPart); kept != "" {
			err = fmt.Errorf("%w; what came is kept in %s, and the next fetch goes on from there", err, kept)
		}
		return done, err
	}
	if t, ok := out.(*Target); ok {
		if err := t.setMode(r.Mode); err != nil {
			out.Abort(false)
			return done, err
		}
	}
	if err := out.Commit(); err != nil {
		return done, err
	}
	if t, ok := out.(*Target); ok {
		t.clearParts()
	}
	return done, nil
}

func (r Restore) open(ctx context.Context) (output, error) {
	switch {
	case r.Out != nil:
		return NewStream(ctx, r.Out), nil
	case isDevice(r.Path):
		if !r.Force {
			return nil, core.WithHint(core.Fail(core.CodeUsage, "%s is a device", r.Path),
				"add --force to overwrite what is on it")
		}
		return OpenDevice(r.Path, r.End-r.Start)
	}
	tag := fmt.Sprintf("%.8s", r.Root.Hash)
	if r.Start > 0 {
		tag += fmt.Sprintf("-%d", r.Start)
	}
	t, err := Create(r.Path, tag, r.End-r.Start, r.Force)
	if err == nil && r.Remote == nil {
		t.Direct()
	}
	return t, err
}

// Lost is the error, core.CodePartial, that holes in an output are; nil without any.
func (a Assembled) Lost(output string) error {
	var lost core.Size
	for _, h := range a.Holes {
		lost += core.Size(h.Length)
	}
	if lost == 0 {
		return nil
	}
	if output == "-" {
		output = "what was written"
	}
	return core.Fail(core.CodePartial, "%s in %d places could be had from nowhere and are zeros in %s", lost,
		len(a.Holes), output)
}
