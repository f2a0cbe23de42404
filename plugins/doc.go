// SPDX-License-Identifier: Apache-2.0

// Package plugins connects bkp with strategies, verifiers, notifiers and engines that run as processes of their own.
//
// An author writes a core.Strategy, core.Verifier, core.Notifier or core.Engine and a main of one line:
//
//	func main() { serve.Strategy(mine.New()) }
//
// builds it as bkp-KIND-NAME and puts it where SearchPath looks. Package plugintest tells whether it behaves.
//
// bkp's side is Host. It finds the file, compares its SHA-256 checksum with the one kept since first use in
// bkp.lock.toml, starts it with a minimal environment, and speaks gRPC with it (package proto) over a Unix socket under
// mutual TLS with keys made for this one process. Plugins that come with bkp are inside its binary; they are started by
// running the binary again (InsideArgs), so they use the same door as strangers' plugins. They change with the binary,
// so no checksum is kept for them. A file that has the name of one of them takes its place only when that was said: by
// $BKP_PLUGIN_PATH, or by bkp plugin lock. A file or folder that other users may write is not used.
//
// A plugin is never trusted to answer, nor to answer sensibly. Start and calls have deadlines, an answer is at most 4
// MiB, every column is checked (CheckScores), texts are cut and cleaned. Whatever goes wrong is a core.Error with
// core.CodePlugin that names the plugin and what was being done; nothing is ever replaced by a default. A process lives
// until Close: when it dies earlier every later call fails until the plugin is opened again, which KeepVerifier does by
// itself, with growing pauses and under the same checksum. It dies with bkp, however bkp dies; what it started ends
// with it, also in a group or session of its own, unless bkp was killed. Its memory and the number of its processes are
// limited, and a strategy cannot open the data directory (RunApart).
package plugins
