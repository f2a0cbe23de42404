// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
)

// Visit calls do with a node that has nothing but the key and the owner of a share: no data directory of this machine,
// nor a node that runs here, has a part in it.
func (op *Opener) Visit(ctx context.Context, s *key.Share, do func(n control.Caller) error) (err error) {
	dir := datadir.Dir(filepath.Join(os.TempDir(), "bkp-"+rand.Text()))
	if err := dir.Make(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, durable.RemoveAll(string(dir))) }()
	if err := dir.PutNodeKey(s.Signer()); err != nil {
		return err
	}
	reader := s.Reader()
	visitor := NewOpener(op.flags, op.console, dir, func() (*key.Owner, error) { return reader, nil })
	n, closers, err := visitor.start(ctx, wish{transient: true})
	if err != nil {
		return err
	}
	err = do(control.Direct(n))
	return errors.Join(err, n.Close(), closers.Close())
}
