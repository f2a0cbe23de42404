// SPDX-License-Identifier: Apache-2.0

// Package input is what is to be split: a file, standard input, or what a command writes.
package input
