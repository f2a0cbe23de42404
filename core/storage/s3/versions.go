// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/bkp-tool/bkp/core"
)

// version is what was put under a name at some time.
type version struct {
	id   string
	size int64
	etag string
}

// versions is those of one object, the newest first, and the markers by which somebody removed it.
type versions struct {
	put     []version
	markers []version
}

// written is the version that bkp wrote: the first. Names of packs are drawn, and none is written twice, but by a try
// whose answer was lost.
func (vs versions) written() (v version, is bool) {
	if len(vs.put) == 0 {
		return v, false
	}
	return vs.put[len(vs.put)-1], true
}

// above is what somebody else put over what bkp wrote: markers, and other bytes.
func (vs versions) above() []version {
	above := slices.Clone(vs.markers)
	written, _ := vs.written()
	for _, v := range vs.put {
		if v.size != written.size || v.etag != written.etag {
			above = append(above, v)
		}
	}
	return above
}

// listVersions calls visit with the versions of every object whose key begins so.
func (b *bucket) listVersions(ctx context.Context, prefix string, visit func(key string, vs versions)) error {
	found, err := try(ctx, b, "list the versions of "+prefix+"*", 64<<20, func(ctx context.Context) (map[string][]minio.ObjectInfo, error) {
		found := map[string][]minio.ObjectInfo{}
		options := minio.ListObjectsOptions{Prefix: b.key(prefix), Recursive: true, WithVersions: true}
		for o := range b.client.ListObjectsIter(ctx, b.place.Bucket, options) {
			if o.Err != nil {
				return nil, o.Err
			}
			found[o.Key] = append(found[o.Key], o)
		}
		return found, nil
	})
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		vs, err := sorted(found[key])
		if err != nil {
			return fmt.Errorf("list the versions of %s: %w", key, err)
		}
		visit(strings.TrimPrefix(key, b.place.Prefix), vs)
	}
	return nil
}

// sorted is the versions of an object that a server listed. Amazon lists the newest first, and markers between them;
// versitygw lists markers by themselves. Where what is listed first is not the newest, nobody could tell what bkp wrote.
func sorted(listed []minio.ObjectInfo) (vs versions, err error) {
	slices.SortStableFunc(listed, func(a, b minio.ObjectInfo) int { return b.LastModified.Compare(a.LastModified) })
	for _, o := range listed {
		v := version{o.VersionID, o.Size, o.ETag}
		switch {
		case o.IsDeleteMarker:
			vs.markers = append(vs.markers, v)
		case o.IsLatest && len(vs.put) > 0:
			return vs, errors.New("the server does not list the newest first")
		default:
			vs.put = append(vs.put, v)
		}
	}
	return vs, nil
}

// versionsOf is those of one object; none where there never was one.
func (b *bucket) versionsOf(ctx context.Context, key string) (found versions, err error) {
	err = b.listVersions(ctx, key, func(of string, vs versions) {
		if of == key {
			found = vs
		}
	})
	return found, err
}

// uncover removes what somebody put over the version that bkp wrote, and reports whether there was anything.
func (b *bucket) uncover(ctx context.Context, key string, vs versions) (was bool, err error) {
	above := vs.above()
	for _, v := range above {
		if err := b.removeVersion(ctx, key, v.id); err != nil {
			return true, err
		}
	}
	return len(above) > 0, nil
}

// removeVersions removes an object with all its versions, the one that bkp wrote last.
func (b *bucket) removeVersions(ctx context.Context, key string) error {
	vs, err := b.versionsOf(ctx, key)
	for _, v := range slices.Concat(vs.markers, vs.put) {
		if err == nil {
			err = b.removeVersion(ctx, key, v.id)
		}
	}
	return err
}

// removeVersion removes one version, or takes a marker away; that it is gone already is no error.
func (b *bucket) removeVersion(ctx context.Context, key, id string) error {
	_, err := try(ctx, b, "remove version "+id+" of "+key, 0, func(ctx context.Context) (nothing, error) {
		return nothing{}, b.client.RemoveObject(ctx, b.place.Bucket, b.key(key), minio.RemoveObjectOptions{VersionID: id})
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// holdLooked is after what time a version that its owner holds on to (a legal hold) is looked at again.
const holdLooked = 24 * time.Hour

// lockedUntil is until when nobody can remove a version, or with id "" the newest; zero where there is no lock.
func (b *bucket) lockedUntil(ctx context.Context, key, id string) (until time.Time, err error) {
	info, err := try(ctx, b, "look at the lock of "+key, 0, func(ctx context.Context) (minio.ObjectInfo, error) {
		return b.client.StatObject(ctx, b.place.Bucket, b.key(key), minio.StatObjectOptions{VersionID: id})
	})
	if err != nil {
		return until, err
	}
	if text := info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"); text != "" {
		if until, err = time.Parse(time.RFC3339, text); err != nil {
			return until, fmt.Errorf("look at the lock of %s: the server says %q", key, text)
		}
	}
	if hold := time.Now().Add(holdLooked); info.Metadata.Get("X-Amz-Object-Lock-Legal-Hold") == "ON" && until.Before(hold) {
		until = hold
	}
	return until, nil
}

// lock has nobody remove a version before a time.
func (b *bucket) lock(ctx context.Context, key, id string, until time.Time) error {
	mode := minio.Compliance
	_, err := try(ctx, b, "lock "+key, 0, func(ctx context.Context) (nothing, error) {
		return nothing{}, b.client.PutObjectRetention(ctx, b.place.Bucket, b.key(key),
			minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &until, VersionID: id})
	})
	return err
}

// canLock is an error where the bucket has no Object Lock.
func (b *bucket) canLock(ctx context.Context) error {
	enabled, err := try(ctx, b, "look for Object Lock", 0, func(ctx context.Context) (string, error) {
		enabled, _, _, _, err := b.client.GetObjectLockConfig(ctx, b.place.Bucket)
		if _, is := errors.AsType[xml.UnmarshalError](err); is {
			return "", nil // by a server that does not know the question, and answers another
		}
		return enabled, err
	})
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if enabled == "Enabled" {
		return nil
	}
	return core.WithHint(core.Fail(core.CodeRefused, "%s: bucket %s has no Object Lock, so that nothing can be locked in it",
		b.place.Short(), b.place.Bucket), "make a bucket that has it (aws s3api create-bucket --bucket NAME "+
		"--object-lock-enabled-for-bucket), turn it on for this one where the server can, or start without --lock")
}
