// SPDX-License-Identifier: Apache-2.0

package nbd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// handshakeTime is how long a client may take to choose an export.
	handshakeTime = 10 * time.Second

	// maxConns bounds the clients at a time: qemu opens one a disk, nbdcopy and nbd-client as many as they are told.
	maxConns = 32

	// What is under way for a client takes at most MaxPayload of memory; a small request counts as leastCost, so that
	// there are at most 512.
	leastCost = 64 << 10
)

// Serve gives the export out to whoever connects until ctx ends, and returns once nobody uses the device any more.
func Serve(ctx context.Context, l net.Listener, e *Export) error {
	ctx, stop := context.WithCancel(ctx)
	var clients sync.WaitGroup
	defer clients.Wait()
	defer stop()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	room := semaphore.NewWeighted(maxConns)
	for {
		if room.Acquire(ctx, 1) != nil {
			return nil
		}
		conn, err := l.Accept()
		if err != nil {
			room.Release(1)
			switch {
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ECONNABORTED):
				time.Sleep(10 * time.Millisecond) // others may end
				continue
			}
			return err
		}
		clients.Go(func() {
			defer room.Release(1)
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			_ = client(conn, e)
		})
	}
}

// client serves one connection until it ends.
func client(conn net.Conn, e *Export) error {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(handshakeTime))
	structured, err := handshake(conn, e)
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Time{}) // a machine may stand still for days
	return transmit(conn, e, structured)
}

// transmission is a connection on which an export was chosen. Requests are carried out side by side, and answered in
// the order in which they end.
type transmission struct {
	export     *Export
	structured bool // replies to reads
	memory     *semaphore.Weighted

	writing sync.Mutex
	conn    io.Writer
}

// transmit answers requests until the client says that there are no more, or the connection breaks.
func transmit(conn io.ReadWriter, e *Export, structured bool) error {
	t := &transmission{export: e, structured: structured, memory: semaphore.NewWeighted(MaxPayload), conn: conn}
	in := bufio.NewReaderSize(conn, 64<<10)
	var underWay sync.WaitGroup
	defer underWay.Wait()
	for {
		var head [requestSize]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		r, is := parseRequest(&head)
		switch {
		case !is, r.command == cmdWrite && r.length > MaxPayload:
			return errWrong
		case r.command == cmdDisc:
			return nil
		}
		wrong := r.check(e.Size, e.ReadOnly)
		cost, size := int64(leastCost), int64(0)
		if wrong == ok || r.command == cmdWrite {
			size = r.payload()
			cost = max(cost, size)
		}
		_ = t.memory.Acquire(context.Background(), cost) // whoever holds it ends with the connection at the latest
		data := make([]byte, size)
		if r.command == cmdWrite {
			if _, err := io.ReadFull(in, data); err != nil {
				return err
			}
		}
		underWay.Go(func() {
			defer t.memory.Release(cost)
			if wrong == ok {
				wrong = t.carryOut(r, data)
			}
			if r.command != cmdRead || wrong != ok {
				data = nil
			}
			t.reply(r, wrong, data)
		})
	}
}

// carryOut does what a request asks for.
func (t *transmission) carryOut(r request, data []byte) errno {
	device, at, length := t.export.Device, int64(r.offset), int64(r.length)
	var err error
	switch r.command {
	case cmdRead:
		var n int
		if n, err = device.ReadAt(data, at); n == len(data) {
			err = nil
		}
		return errnoOf(err)
	case cmdWrite:
		_, err = device.WriteAt(data, at)
	case cmdTrim:
		err = device.Trim(at, length)
	case cmdWriteZeroes:
		if r.flags&flagNoHole != 0 {
			err = writeZeros(device, at, length)
		} else {
			err = device.Zero(at, length)
		}
	}
	if err == nil && (r.command == cmdFlush || r.flags&flagFUA != 0) {
		err = device.Flush()
	}
	return errnoOf(err)
}

var zeros [1 << 20]byte

func writeZeros(device io.WriterAt, at, length int64) error {
	for length > 0 {
		n, err := device.WriteAt(zeros[:min(length, int64(len(zeros)))], at)
		if err != nil {
			return err
		}
		at, length = at+int64(n), length-int64(n)
	}
	return nil
}

func errnoOf(err error) errno {
	switch {
	case err == nil:
		return ok
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return errSpace
	}
	return errIO
}

// reply answers a request. A connection that takes no more is noticed by who reads from it.
func (t *transmission) reply(r request, how errno, data []byte) {
	head := simple(r, how)
	if t.structured && r.command == cmdRead {
		head = chunk(r, how)
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	parts := net.Buffers{head, data}
	_, _ = parts.WriteTo(t.conn)
}

func simple(r request, how errno) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, replySize), magicReply)
	b = binary.BigEndian.AppendUint32(b, uint32(how))
	return binary.BigEndian.AppendUint64(b, r.cookie)
}

// chunk is a structured reply but for what was read: of one chunk, with bytes or an error.
func chunk(r request, how errno) []byte {
	kind, length := uint16(chunkData), dataOffsetSize+r.length
	if how != ok {
		kind, length = chunkError, 6
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, chunkHeadSize+dataOffsetSize), magicChunk)
	b = binary.BigEndian.AppendUint16(b, chunkDone)
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint64(b, r.cookie)
	b = binary.BigEndian.AppendUint32(b, length)
	if how != ok {
		return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(b, uint32(how)), 0)
	}
	return binary.BigEndian.AppendUint64(b, r.offset)
}
