// SPDX-License-Identifier: Apache-2.0

// Package render prints what commands came to: tables and pictures for a person, one JSON object a line for a script.
package render
