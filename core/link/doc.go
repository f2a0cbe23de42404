// Package link keeps authenticated WebSocket sessions with peers.
package link
