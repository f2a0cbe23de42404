// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bkp-tool/bkp/core/storage/s3/s3test"
)

// bucketEnv gives a story a bucket: its name is $BUCKET and its endpoint $S3.
func bucketEnv(env *testscript.Env) error {
	s, err := s3test.New()
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
	default:
		ts.Fatalf("bucket %s", args[0])
	}
}
