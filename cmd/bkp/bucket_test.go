// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bkp-tool/bkp/core/storage/s3/s3test"
)

// bucketEnv gives a story a bucket, with Object Lock or without: its name is $BUCKET and its endpoint $S3.
func bucketEnv(env *testscript.Env, locking bool) error {
	begin := s3test.New
	if locking {
		begin = s3test.NewLocking
	}
	s, err := begin()
	if err != nil {
		return err
	}
	env.Defer(s.Close)
	env.Values[bucketKey{}] = s
	env.Setenv("BUCKET", s.Bucket)
	env.Setenv("S3", s.URL)
	env.Setenv("AWS_ACCESS_KEY_ID", s.Key)
	env.Setenv("AWS_SECRET_ACCESS_KEY", s.Secret)
	return nil
}

type bucketKey struct{}

// bucket does something with a story's bucket:
//
//	bucket packs N         there are N packs in it, or with ! not N
//	bucket drop            the packs go, as if somebody had removed them
//	bucket damage          a byte in the middle of each pack becomes another one
//	bucket throttle N      it has time for each N-th request alone; 1 for all of them
//	bucket locked N        nobody can remove the largest pack for N days from now, or with ! anybody can
//	bucket thief           who has the credentials removes each pack as far as the server lets him
func bucket(ts *testscript.TestScript, not bool, args []string) {
	s := ts.Value(bucketKey{}).(*s3test.Server)
	packs, err := s.Packs("")
	ts.Check(err)
	number := func() int {
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		return n
	}
	switch args[0] {
	case "packs":
		if (len(packs) == number()) == not {
			ts.Fatalf("there are %d packs", len(packs))
		}
	case "drop":
		for _, key := range packs {
			ts.Check(s.Change(key, func([]byte) []byte { return nil }))
		}
	case "damage":
		for _, key := range packs {
			ts.Check(s.Change(key, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }))
		}
	case "throttle":
		s.Throttle(int64(number()))
	case "locked":
		largest, err := s.Largest()
		ts.Check(err)
		text, err := s.Lock(largest)
		ts.Check(err)
		until, _ := time.Parse(time.RFC3339, text)
		if until.After(time.Now().Add(time.Duration(number())*24*time.Hour)) == not {
			ts.Fatalf("the largest pack is locked until %q", text)
		}
	case "thief":
		for _, key := range packs {
			if id, err := s.Version(key); err == nil && s.Remove(key, id) == nil {
				ts.Fatalf("the version of %s was removed", key)
			}
			ts.Check(s.Remove(key, ""))
		}
	default:
		ts.Fatalf("bucket %s", args[0])
	}
}
