// SPDX-License-Identifier: Apache-2.0

// Package nbdtest is a client of network block devices for tests: one request at a time.
package nbdtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// Client is a connection on which an export was chosen.
type Client struct {
	Conn  net.Conn
	Size  int64
	Flags uint16

	cookie uint64
}

// Errno is how a request ended, where it did not end well.
type Errno uint32

func (e Errno) Error() string { return fmt.Sprintf("nbd: error %d", uint32(e)) }

// Commands of the protocol, and a flag of them.
const (
	Read, Write, Disc, Flush, Trim, WriteZeroes uint16 = 0, 1, 2, 3, 4, 6

	FUA uint16 = 1
)

// Dial connects to an export with GO.
func Dial(address, name string) (*Client, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	c, err := Choose(conn, name)
	if err != nil {
		conn.Close()
	}
	return c, err
}

// Choose chooses an export on a connection with GO.
func Choose(conn net.Conn, name string) (*Client, error) {
	if err := Hello(conn); err != nil {
		return nil, err
	}
	data := binary.BigEndian.AppendUint32(nil, uint32(len(name)))
	data = append(append(data, name...), 0, 0)
	if err := Option(conn, 7, data); err != nil {
		return nil, err
	}
	c := &Client{Conn: conn}
	for {
		kind, data, err := Reply(conn)
		switch {
		case err != nil:
			return nil, err
		case kind == 1:
			return c, nil
		case kind&(1<<31) != 0:
			return nil, fmt.Errorf("refused with %#x: %s", kind, data)
		case len(data) == 12 && binary.BigEndian.Uint16(data) == 0:
			c.Size, c.Flags = int64(binary.BigEndian.Uint64(data[2:])), binary.BigEndian.Uint16(data[10:])
		}
	}
}

// Hello is the beginning of the handshake.
func Hello(conn net.Conn) error {
	var hello [18]byte
	if _, err := io.ReadFull(conn, hello[:]); err != nil {
		return err
	}
	if string(hello[:16]) != "NBDMAGICIHAVEOPT" {
		return fmt.Errorf("no newstyle server: %q", hello)
	}
	_, err := conn.Write([]byte{0, 0, 0, hello[17]})
	return err
}

// Option sends an option.
func Option(conn net.Conn, number uint32, data []byte) error {
	b := binary.BigEndian.AppendUint32([]byte("IHAVEOPT"), number)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	_, err := conn.Write(append(b, data...))
	return err
}

// Reply is one reply to an option.
func Reply(conn net.Conn) (kind uint32, data []byte, err error) {
	var head [20]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return 0, nil, err
	}
	if binary.BigEndian.Uint64(head[:]) != 0x0003e889045565a9 {
		return 0, nil, errors.New("no reply to an option")
	}
	data = make([]byte, binary.BigEndian.Uint32(head[16:]))
	_, err = io.ReadFull(conn, data)
	return binary.BigEndian.Uint32(head[12:]), data, err
}

// Do sends a request and awaits its reply; data is what is written, or read into.
func (c *Client) Do(command, flags uint16, at int64, length uint32, data []byte) error {
	c.cookie++
	b := binary.BigEndian.AppendUint32(nil, 0x25609513)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, command)
	b = binary.BigEndian.AppendUint64(b, c.cookie)
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = binary.BigEndian.AppendUint32(b, length)
	if command == Write {
		b = append(b, data...)
	}
	if _, err := c.Conn.Write(b); err != nil || command == Disc {
		return err
	}
	var head [16]byte
	if _, err := io.ReadFull(c.Conn, head[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(head[:]) != 0x67446698 || binary.BigEndian.Uint64(head[8:]) != c.cookie {
		return errors.New("no reply to this request")
	}
	if e := binary.BigEndian.Uint32(head[4:]); e != 0 {
		return Errno(e)
	}
	if command == Read {
		_, err := io.ReadFull(c.Conn, data)
		return err
	}
	return nil
}

// ReadAt makes it an io.ReaderAt.
func (c *Client) ReadAt(p []byte, at int64) (int, error) {
	err := c.Do(Read, 0, at, uint32(len(p)), p)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteAt makes it an io.WriterAt.
func (c *Client) WriteAt(p []byte, at int64) (int, error) {
	err := c.Do(Write, 0, at, uint32(len(p)), p)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close ends the connection as the protocol has it.
func (c *Client) Close() error { return errors.Join(c.Do(Disc, 0, 0, 0, nil), c.Conn.Close()) }
