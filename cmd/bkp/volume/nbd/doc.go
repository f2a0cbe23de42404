// SPDX-License-Identifier: Apache-2.0

// Package nbd serves a block device by the NBD protocol, as qemu, nbd-client and libnbd speak it: the fixed newstyle
// handshake with GO, INFO, LIST and EXPORT_NAME, and simple replies, or structured ones to reads. The protocol's text
// is doc/proto.md of github.com/NetworkBlockDevice/nbd; names here are those there. No module with a server of it was
// to be had.
//
// Structured replies are needed for qemu 7.2: of an export whose size is no multiple of 512 it asks for the bytes that
// are there, and then waits for a simple reply with those up to the next multiple.
package nbd

import "encoding/binary"

// DefaultPort is the port that the protocol has.
const DefaultPort = "10809"

// MaxPayload is how many bytes a request reads or writes at most: what clients take for granted.
const MaxPayload = 32 << 20

// Numbers of the handshake.
const (
	magicServer      = 0x4e42444d41474943 // NBDMAGIC
	magicOption      = 0x49484156454f5054 // IHAVEOPT
	magicOptionReply = 0x0003e889045565a9

	flagFixedNewstyle = 1 << 0 // of server and client
	flagNoZeroes      = 1 << 1

	optExportName = 1
	optAbort      = 2
	optList       = 3
	optInfo       = 6
	optGo         = 7
	optStructured = 8

	repAck        = 1
	repServer     = 2
	repInfo       = 3
	repErrUnsup   = 1<<31 + 1
	repErrInvalid = 1<<31 + 3
	repErrUnknown = 1<<31 + 6
	repErrTooBig  = 1<<31 + 9

	infoExport    = 0
	infoBlockSize = 3

	// maxOption bounds an option's data: a name of 4096 bytes and some requests for information.
	maxOption = 8192
	maxName   = 4096
)

// Numbers of the transmission.
const (
	magicRequest = 0x25609513
	magicReply   = 0x67446698

	// what an export can do
	flagHasFlags        = 1 << 0
	flagReadOnly        = 1 << 1
	flagSendFlush       = 1 << 2
	flagSendFUA         = 1 << 3
	flagSendTrim        = 1 << 5
	flagSendWriteZeroes = 1 << 6
	flagSendDF          = 1 << 7
	flagCanMultiConn    = 1 << 8

	cmdRead        = 0
	cmdWrite       = 1
	cmdDisc        = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdWriteZeroes = 6

	flagFUA    = 1 << 0 // durable before it is answered
	flagNoHole = 1 << 1 // zeros that take room
	flagDF     = 1 << 2 // a reply that is not in pieces

	magicChunk     = 0x668e33ef
	chunkDone      = 1 << 0 // the reply's last, here always
	chunkData      = 1
	chunkError     = 1<<15 + 1
	chunkHeadSize  = 20
	dataOffsetSize = 8
)

// errno is how a request ended.
type errno uint32

const (
	ok       errno = 0
	errPerm  errno = 1
	errIO    errno = 5
	errInval errno = 22
	errSpace errno = 28
)

const (
	requestSize = 28
	replySize   = 16
)

// request is one of the transmission, without what it writes.
type request struct {
	flags   uint16
	command uint16
	cookie  uint64 // the client's name for it
	offset  uint64
	length  uint32
}

// parseRequest reads a request; false where it is none, so that where the next one begins is not known.
func parseRequest(b *[requestSize]byte) (r request, is bool) {
	order := binary.BigEndian
	r = request{flags: order.Uint16(b[4:]), command: order.Uint16(b[6:]), cookie: order.Uint64(b[8:]),
		offset: order.Uint64(b[16:]), length: order.Uint32(b[24:])}
	return r, order.Uint32(b[:]) == magicRequest
}

// payload is how many bytes follow the request, or its reply.
func (r request) payload() int64 {
	if r.command == cmdRead || r.command == cmdWrite {
		return int64(r.length)
	}
	return 0
}

// check is what is wrong with a request to an export of size bytes.
func (r request) check(size int64, readOnly bool) errno {
	known, writes := uint16(0), true
	switch r.command {
	case cmdRead:
		known, writes = flagFUA|flagDF, false // some clients set FUA where it means nothing
	case cmdFlush:
		known, writes = flagFUA, false
	case cmdWrite, cmdTrim:
		known = flagFUA
	case cmdWriteZeroes:
		known = flagFUA | flagNoHole
	default:
		return errInval
	}
	over := r.command != cmdFlush && (r.offset > uint64(size) || uint64(r.length) > uint64(size)-r.offset)
	switch {
	case r.flags&^known != 0, r.payload() > MaxPayload:
		return errInval
	case writes && readOnly:
		return errPerm
	case over && (r.command == cmdWrite || r.command == cmdWriteZeroes):
		return errSpace
	case over:
		return errInval
	}
	return ok
}
