// SPDX-License-Identifier: Apache-2.0

package line

// elsewhere is what other tools call things, and how to have them done here.
var elsewhere = func() map[string]string {
	words := map[string]string{}
	for _, x := range []struct {
		hint  string
		words []string
	}{
		{"a file is brought back with: bkp fetch NAME", []string{"restore", "extract", "recover", "download", "get"}},
		{"bytes to standard output: bkp fetch NAME -o -", []string{"cat", "dump"}},
		{"versions are listed with: bkp ls", []string{"snapshots", "snapshot", "list", "versions", "archives", "find"}},
		{"old versions go by rules: bkp prune --keep-last 3 --dry-run", []string{"forget", "expire", "retention"}},
		{"a name or version goes with: bkp rm NAME", []string{"delete", "remove", "del"}},
		{"chunks are checked, here and at peers, with: bkp verify", []string{"check", "scrub", "fsck", "audit"}},
		{"the running node is looked at with: bkp node status", []string{"status", "stats", "info", "top"}},
		{"a file is split and placed in one stream with: bkp backup FILE", []string{"create", "save", "add", "sync"}},
		{"a version that was split is given to peers with: bkp place NAME", []string{"upload", "push", "copy", "put"}},
		{"nothing needs to be made first, the identity comes with the first split: bkp split FILE",
			[]string{"init", "repository", "repo", "setup"}},
		{"two versions are compared with: bkp show --diff NAME@1 NAME@2", []string{"diff", "compare"}},
		{"a node is started with: bkp node start", []string{"server", "daemon", "agent", "start", "run", "up"}},
		{"a node ends with TERM or INT, as from systemctl stop; it is looked at with: bkp node status",
			[]string{"stop", "down", "shutdown"}},
		{"peers are listed with: bkp peers", []string{"nodes", "members", "devices", "ping", "connect"}},
		{"the IDs of owner and node are shown with: bkp key show", []string{"id", "identity", "whoami", "device-id"}},
		{"what was licensed and received is listed with: bkp ledger log", []string{"log", "logs", "history"}},
		{"space that nothing needs is freed with: bkp gc", []string{"cleanup", "compact", "vacuum"}},
		{"bandwidth is changed at once with: bkp node limit", []string{"limit", "throttle", "bandwidth"}},
		{"backups by the clock are jobs of config.toml: bkp job list", []string{"cron", "schedule", "timer", "jobs"}},
		{"the settings are shown with: bkp config show", []string{"settings", "options", "env"}},
	} {
		for _, w := range x.words {
			words[w] = x.hint
		}
	}
	return words
}()

// Elsewhere lists the words of other tools that are answered with a hint.
func Elsewhere() map[string]string { return elsewhere }
