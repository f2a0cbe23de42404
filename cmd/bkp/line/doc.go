// SPDX-License-Identifier: Apache-2.0

// Package line reads what a command was told: by its words, else by the environment, else by config.toml.
package line
