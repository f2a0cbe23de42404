// Package spread decides which runs travel next, from whom and to whom, and how fast.
//
// Events come in and actions go out; nothing here acts, waits, or knows a clock. core/node drives it.
//
//	download.go  a fetch: which holder is asked for which runs
package spread
