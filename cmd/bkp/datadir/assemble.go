package datadir

import (
	"context"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/node"
)

// Assemble puts a file together for the node, or for a fetch that needs none.
func Assemble(ctx context.Context, a node.Assembly) (node.Assembled, error) {
	r := file.Restore{
		Assembly: file.Assembly{
			Root: a.Root, Secrets: chunk.NewSecrets(a.Secrets), Local: getter(a.Get), Start: a.Start, End: a.End,
			Partial: a.Partial, Progress: a.Progress,
		},
		Path: a.Output, Out: a.Out, Force: a.Force, Seed: a.Seed, Mode: a.Mode,
	}
	if a.Bring != nil {
		r.Remote = bringer(a.Bring)
	}
	done, err := r.Run(ctx)
	return node.Assembled(done), err
}

// getter and bringer are functions as core/file wants them.
type getter func(context.Context, core.Hash, []byte) ([]byte, error)

func (g getter) Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	return g(ctx, hash, dst)
}

type bringer func(context.Context, []core.Sealed, func(core.Hash, []byte) error) ([]core.Hash, error)

func (b bringer) Bring(ctx context.Context, wanted []core.Sealed,
	deliver func(core.Hash, []byte) error) ([]core.Hash, error) {
	return b(ctx, wanted, deliver)
}
