// SPDX-License-Identifier: Apache-2.0

package owner

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/core"
)

// Passphrase is what opened the identity before, else what is given by --passphrase-file, in the environment as
// BKP_PASSPHRASE, or by --passphrase-command; empty without. What stands on the command line goes before what does
// not.
func (i *Identity) Passphrase() (string, error) {
	path, command := i.flags.String("passphrase-file"), i.flags.String("passphrase-command")
	set := os.Getenv("BKP_PASSPHRASE")
	asked := i.flags.Given("passphrase-command")
	switch {
	case i.Phrase != "":
		return i.Phrase, nil
	case asked && i.flags.Given("passphrase-file"):
		return "", line.UsageError("--passphrase-file and --passphrase-command exclude one another")
	case path != "" && !asked:
		text, err := os.ReadFile(path)
		if err != nil {
			return "", line.UsageError("--passphrase-file: %w", err)
		}
		return firstLine(text, "--passphrase-file: "+path)
	case set != "" && !asked, command == "":
		return set, nil
	}
	text, err := i.printed(command)
	if err != nil {
		return "", core.WithHint(fmt.Errorf("the passphrase command %q: %w", command, err),
			"run it alone: it must print the passphrase and end with 0")
	}
	return firstLine(text, fmt.Sprintf("what the passphrase command %q printed", command))
}

// firstLine is the passphrase in a text that where names.
func firstLine(text []byte, where string) (string, error) {
	phrase, _, _ := bytes.Cut(text, []byte("\n"))
	if phrase = bytes.TrimRight(phrase, "\r"); len(phrase) == 0 {
		return "", line.UsageError("%s is empty", where)
	}
	return string(phrase), nil
}

// maxPrinted is more than anybody's passphrase has.
const maxPrinted = 64 << 10

// printed is what a line of the shell prints. Standard input is not its own: it may be what is to be split.
func (i *Identity) printed(line string) ([]byte, error) {
	cmd := exec.CommandContext(i.flags.Context.Context, "sh", "-c", line)
	cmd.Stderr, cmd.WaitDelay = i.console.Stderr, time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(out, maxPrinted))
	_ = out.Close() // one that prints for ever ends
	if ended := cmd.Wait(); ended != nil {
		return nil, ended
	}
	return text, err
}
