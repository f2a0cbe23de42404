// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
)

// A torrent and the tracker that a swarm needs to meet: as little of both as programs ask for.

const (
	trackerPort = 6969
	pieceBytes  = 256 << 10
)

func trackerURL() string { return fmt.Sprintf("http://%s:%d/announce", address(0), trackerPort) }

// writeTorrent describes the file in pieces of 256 KiB.
func writeTorrent(path, file, announce string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	var pieces []byte
	piece, size := make([]byte, pieceBytes), 0
	for {
		n, err := io.ReadFull(f, piece)
		if n > 0 {
			sum := sha1.Sum(piece[:n])
			pieces, size = append(pieces, sum[:]...), size+n
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		} else if err != nil {
			return err
		}
	}
	text := fmt.Sprintf("d8:announce%d:%s4:infod6:lengthi%de4:name4:file12:piece lengthi%de6:pieces%d:", len(announce),
		announce, size, pieceBytes, len(pieces))
	return os.WriteFile(path, append(append([]byte(text), pieces...), "ee"...), 0o600)
}

// runTracker tells everybody who announces about all others who did, and says on standard output once somebody has the
// whole file.
func runTracker(at string) error {
	var mu sync.Mutex
	known, whole := map[string]bool{}, false
	http.HandleFunc("/announce", func(w http.ResponseWriter, q *http.Request) {
		host, _, _ := net.SplitHostPort(q.RemoteAddr)
		port, _ := strconv.Atoi(q.FormValue("port"))
		me := string(binary.BigEndian.AppendUint16(net.ParseIP(host).To4(), uint16(port)))
		mu.Lock()
		defer mu.Unlock()
		known[me] = q.FormValue("event") != "stopped"
		if q.FormValue("left") == "0" && !whole {
			whole = true
			fmt.Println("somebody has the whole file")
		}
		var peers string
		for p, there := range known {
			if there && p != me {
				peers += p
			}
		}
		fmt.Fprintf(w, "d8:intervali2e12:min intervali1e5:peers%d:%se", len(peers), peers)
	})
	return http.ListenAndServe(at, nil)
}

// runFiles serves the files of a directory.
func runFiles(dir, at string) error { return http.ListenAndServe(at, http.FileServer(http.Dir(dir))) }
