// Package owner opens the identity of who gives a command.
package owner
