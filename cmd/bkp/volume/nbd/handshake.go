// SPDX-License-Identifier: Apache-2.0

package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Export is a device as clients see it.
type Export struct {
	Names    []string // by which it is asked for; the first is listed. The empty name, the default, is it too
	Size     int64
	ReadOnly bool
	Device   Device
}

// Device is what is served. Safe for many goroutines.
type Device interface {
	io.ReaderAt
	io.WriterAt
	// Zero makes bytes zeros, which need no room; Trim says that bytes are not needed any more.
	Zero(at, length int64) error
	Trim(at, length int64) error
	// Flush returns nil when all that was written before is durable.
	Flush() error
}

func (e *Export) is(name string) bool {
	if name == "" {
		return true
	}
	for _, n := range e.Names {
		if n == name {
			return true
		}
	}
	return false
}

// flags are what the export can do. All connections see one device, and a flush of one is a flush of all.
func (h *handshaking) flags() uint16 {
	f := uint16(flagHasFlags | flagSendFlush | flagCanMultiConn)
	if h.structured {
		f |= flagSendDF
	}
	if h.export.ReadOnly {
		return f | flagReadOnly
	}
	return f | flagSendFUA | flagSendTrim | flagSendWriteZeroes
}

var (
	errGone  = errors.New("the client went before it chose an export")
	errWrong = errors.New("the client does not speak the protocol")
)

// handshake agrees with a client on the export, and on how reads are answered; an error where there is nothing to
// transmit.
func handshake(conn io.ReadWriter, e *Export) (structured bool, err error) {
	h := handshaking{conn: conn, export: e}
	hello := binary.BigEndian.AppendUint64(nil, magicServer)
	hello = binary.BigEndian.AppendUint64(hello, magicOption)
	hello = binary.BigEndian.AppendUint16(hello, flagFixedNewstyle|flagNoZeroes)
	if _, err := conn.Write(hello); err != nil {
		return false, err
	}
	var flags [4]byte
	if _, err := io.ReadFull(conn, flags[:]); err != nil {
		return false, err
	}
	client := binary.BigEndian.Uint32(flags[:])
	if client&flagFixedNewstyle == 0 || client&^(flagFixedNewstyle|flagNoZeroes) != 0 {
		return false, fmt.Errorf("%w: flags %#x", errWrong, client)
	}
	h.zeroes = client&flagNoZeroes == 0
	for {
		chosen, err := h.option()
		if chosen || err != nil {
			return h.structured, err
		}
	}
}

// handshaking is a handshake under way.
type handshaking struct {
	conn       io.ReadWriter
	export     *Export
	zeroes     bool // EXPORT_NAME is answered with 124 zeros more
	structured bool
}

// option answers one option; true where an export is chosen with it.
func (h *handshaking) option() (chosen bool, err error) {
	var head [16]byte
	if _, err := io.ReadFull(h.conn, head[:]); err != nil {
		return false, err
	}
	if binary.BigEndian.Uint64(head[:]) != magicOption {
		return false, fmt.Errorf("%w: no option", errWrong)
	}
	opt, length := binary.BigEndian.Uint32(head[8:]), binary.BigEndian.Uint32(head[12:])
	if length > maxOption {
		_ = h.reply(opt, repErrTooBig, nil)
		return false, fmt.Errorf("%w: an option of %d bytes", errWrong, length)
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(h.conn, data); err != nil {
		return false, err
	}
	switch opt {
	case optExportName: // cannot be refused but by hanging up
		if !h.export.is(string(data)) {
			return false, fmt.Errorf("%w: it asked for %.80q", errGone, data)
		}
		return true, h.begin()
	case optAbort:
		return false, errors.Join(errGone, h.reply(opt, repAck, nil))
	case optList:
		return false, h.list(data)
	case optStructured:
		if len(data) > 0 {
			return false, h.reply(opt, repErrInvalid, nil)
		}
		h.structured = true
		return false, h.reply(opt, repAck, nil)
	case optInfo, optGo:
		return h.info(opt, data)
	}
	return false, h.reply(opt, repErrUnsup, nil)
}

func (h *handshaking) reply(opt, kind uint32, data []byte) error {
	b := binary.BigEndian.AppendUint64(nil, magicOptionReply)
	b = binary.BigEndian.AppendUint32(b, opt)
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	_, err := h.conn.Write(append(b, data...))
	return err
}

// begin is the answer to EXPORT_NAME.
func (h *handshaking) begin() error {
	b := binary.BigEndian.AppendUint64(nil, uint64(h.export.Size))
	b = binary.BigEndian.AppendUint16(b, h.flags())
	if h.zeroes {
		b = append(b, make([]byte, 124)...)
	}
	_, err := h.conn.Write(b)
	return err
}

func (h *handshaking) list(data []byte) error {
	if len(data) > 0 {
		return h.reply(optList, repErrInvalid, nil)
	}
	name := h.export.Names[0]
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(name))), name...)
	if err := h.reply(optList, repServer, b); err != nil {
		return err
	}
	return h.reply(optList, repAck, nil)
}

// info is the answer to INFO and GO; after GO the transmission begins.
func (h *handshaking) info(opt uint32, data []byte) (chosen bool, err error) {
	name, wanted, is := parseInfo(data)
	switch {
	case !is:
		return false, h.reply(opt, repErrInvalid, nil)
	case !h.export.is(name):
		return false, h.reply(opt, repErrUnknown, []byte("here is "+h.export.Names[0]))
	}
	b := binary.BigEndian.AppendUint16(nil, infoExport)
	b = binary.BigEndian.AppendUint64(b, uint64(h.export.Size))
	b = binary.BigEndian.AppendUint16(b, h.flags())
	if err := h.reply(opt, repInfo, b); err != nil {
		return false, err
	}
	for _, w := range wanted {
		if w != infoBlockSize {
			continue
		}
		b := binary.BigEndian.AppendUint16(nil, infoBlockSize)
		for _, size := range []uint32{1, 4096, MaxPayload} { // at least, best, at most
			b = binary.BigEndian.AppendUint32(b, size)
		}
		if err := h.reply(opt, repInfo, b); err != nil {
			return false, err
		}
		break
	}
	return opt == optGo, h.reply(opt, repAck, nil)
}

// parseInfo reads the data of INFO and GO: a name, and what the client wants to be told.
func parseInfo(data []byte) (name string, wanted []uint16, is bool) {
	if len(data) < 6 {
		return "", nil, false
	}
	length := binary.BigEndian.Uint32(data)
	if length > maxName || int(length) > len(data)-6 {
		return "", nil, false
	}
	name, data = string(data[4:4+length]), data[4+length:]
	count := int(binary.BigEndian.Uint16(data))
	if data = data[2:]; len(data) != 2*count {
		return "", nil, false
	}
	for ; len(data) > 0; data = data[2:] {
		wanted = append(wanted, binary.BigEndian.Uint16(data))
	}
	return name, wanted, true
}
