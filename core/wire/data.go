// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"fmt"
)

const (
	// DataVersion is the first byte of every data message.
	DataVersion = 1
	// DataHeader is how many bytes stand in front of a data message's payload.
	DataHeader = 1 + 8 + 4 + 4
	// MaxData is the largest payload of one data message.
	MaxData = 1 << 20
	// MaxStored is the largest sealed chunk that a run may name: 16 MiB of plain bytes and what the seal adds.
	MaxStored = 16<<20 + 4096
)

// Data is one data message: bytes of one chunk of a transfer that a TRANSMISSION_BEGIN announced.
//
//	version 1 byte ‖ transfer uint64 LE ‖ chunk uint32 LE ‖ offset uint32 LE ‖ bytes
type Data struct {
	Transfer uint64
	Chunk    uint32 // index in the BEGIN's list of chunks
	Offset   uint32 // of Bytes within the stored chunk
	Bytes    []byte
}

// AppendDataHeader appends the header of d; the bytes follow it on the wire.
func AppendDataHeader(dst []byte, d Data) []byte {
	dst = append(dst, DataVersion)
	dst = binary.LittleEndian.AppendUint64(dst, d.Transfer)
	dst = binary.LittleEndian.AppendUint32(dst, d.Chunk)
	return binary.LittleEndian.AppendUint32(dst, d.Offset)
}

// ParseData reads a data message. Bytes share memory with message.
func ParseData(message []byte) (Data, error) {
	if len(message) <= DataHeader {
		return Data{}, fmt.Errorf("data message of %d bytes, the header alone has %d", len(message), DataHeader)
	}
	if message[0] != DataVersion {
		return Data{}, fmt.Errorf("data message of version %d, this is version %d", message[0], DataVersion)
	}
	d := Data{
		Transfer: binary.LittleEndian.Uint64(message[1:]),
		Chunk:    binary.LittleEndian.Uint32(message[9:]),
		Offset:   binary.LittleEndian.Uint32(message[13:]),
		Bytes:    message[DataHeader:],
	}
	return d, d.Check()
}

// Check reports what no data message may be: empty, larger than MaxData, or beyond the end of the largest chunk.
func (d Data) Check() error {
	switch {
	case len(d.Bytes) == 0:
		return fmt.Errorf("data message without bytes")
	case len(d.Bytes) > MaxData:
		return fmt.Errorf("data message with %d bytes, %d are allowed", len(d.Bytes), MaxData)
	case int64(d.Offset)+int64(len(d.Bytes)) > MaxStored:
		return fmt.Errorf("data message ends at byte %d of a chunk, chunks end at %d at the latest",
			int64(d.Offset)+int64(len(d.Bytes)), MaxStored)
	case d.Chunk >= MaxRunChunks:
		return fmt.Errorf("data message for chunk %d of a run, a run has at most %d", d.Chunk, MaxRunChunks)
	}
	return nil
}
