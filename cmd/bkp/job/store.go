// SPDX-License-Identifier: Apache-2.0

package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// Store keeps what became of jobs in a folder: a file a job, and a lock beside it that is held while the job runs.
type Store string

func (d Store) path(name string) string { return filepath.Join(string(d), name+".json") }

// Load is what became of a job; the zero State where nothing is known.
func (d Store) Load(name string) (s State, err error) {
	text, err := os.ReadFile(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return State{}, core.WithHint(fmt.Errorf("what became of job %s: %w", name, err), "remove %s to begin anew", d.path(name))
	}
	return s, nil
}

// Save writes it down.
func (d Store) Save(name string, s State) error {
	text, err := json.Marshal(s)
	if err == nil {
		err = durable.MkdirAll(string(d))
	}
	if err == nil {
		err = durable.Replace(d.path(name), append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write down what became of job %s: %w", name, err)
	}
	return nil
}

// Lock is held while a job runs; CodeBusy where it runs already.
func (d Store) Lock(name string) (release func(), err error) {
	if err := durable.MkdirAll(string(d)); err != nil {
		return nil, err
	}
	lock := durable.NewLock(filepath.Join(string(d), name+".lock"))
	got, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock job %s: %w", name, err)
	}
	if !got {
		return nil, core.WithHint(core.Fail(core.CodeBusy, "job %s runs already", name), "bkp job status %s shows it", name)
	}
	return func() { _ = lock.Close() }, nil
}

// Runs reports whether a job runs now.
func (d Store) Runs(name string) bool {
	lock := durable.LockOf(filepath.Join(string(d), name+".lock"))
	got, err := lock.TryLock()
	if err == nil {
		_ = lock.Close()
	}
	return err == nil && !got
}
