// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/bkp-tool/bkp/core"
)

const (
	// patience is how long a request is tried again while the bucket does not answer, or answers that it has no time.
	// Who waits for a receipt waits as long; after that the node says that its storage failed.
	patience = 10 * time.Minute
	// startPatience is patience before anything was answered: a wrong endpoint is to be told soon.
	startPatience = 15 * time.Second
	// quiet is how long a bucket may have no time before anybody hears of it: most throttle now and then.
	quiet = 3 * time.Second
	// mostDamaged is how often bytes may be damaged on their way: a line that is at fault each time is not a busy one.
	mostDamaged  = 5
	firstPause   = 200 * time.Millisecond
	longestPause = 15 * time.Second
	// partSize is from what size on an object goes up in parts: a pack is about that long, and longer where its last
	// record is.
	partSize = 16 << 20
	// slowest is what a connection carries that is not given up, in bytes a second.
	slowest = 32 << 10
)

// bucket is the objects below a prefix. Keys are told without it. Every call is tried again until patience ends, but
// where that can change nothing.
type bucket struct {
	place    Place
	unusable error // why nothing can be asked
	client   minio.Core
	patience time.Duration
	pause    time.Duration // before the second try; then twice as long
	quiet    time.Duration // how long nobody hears of it
	troubled atomic.Bool
	tell     func(error) // of a request that is tried again, and nil once one went well
}

func dial(place Place, tell func(error)) (*bucket, error) {
	found := credentialsOf(place)
	if value, err := found.GetWithContext(nil); err != nil || value.AccessKeyID == "" {
		return nil, core.WithHint(core.Fail(core.CodeRefused, "%s: no credentials were found", place.Short()), "%s",
			setCredentials)
	}
	transport, err := minio.DefaultTransport(!place.Plain)
	if err != nil {
		return nil, err
	}
	transport.MaxIdleConnsPerHost = 64
	// Two tries of the library's own, since it finds out a bucket's region by the first.
	client, err := minio.NewCore(place.Endpoint, &minio.Options{Creds: found, Secure: !place.Plain, Transport: transport,
		Region: place.region(), BucketLookup: lookups[place.Lookup], MaxRetries: 2})
	if err != nil {
		return nil, core.Fail(core.CodeUsage, "%s: %w", place.Short(), err)
	}
	return &bucket{place: place, client: *client, patience: patience, pause: firstPause, quiet: quiet,
		tell: tell}, nil
}

var lookups = map[string]minio.BucketLookupType{"": minio.BucketLookupAuto, "path": minio.BucketLookupPath,
	"dns": minio.BucketLookupDNS}

// region is the one to sign for; "" where the server is asked.
func (p Place) region() string {
	for _, region := range []string{p.Region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")} {
		if region != "" {
			return region
		}
	}
	if p.Endpoint == amazon {
		return ""
	}
	return "us-east-1" // what servers that know no regions sign for
}

// credentialsOf looks where everybody does: the environment, the files of the AWS tools, and where a machine is given a
// role, its service.
func credentialsOf(p Place) *credentials.Credentials {
	file := &credentials.FileAWSCredentials{Profile: p.Profile}
	if p.Profile != "" {
		return credentials.New(file)
	}
	chain := []credentials.Provider{&credentials.EnvAWS{}, &credentials.EnvMinio{}, file}
	given := os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") + os.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") +
		os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if given != "" || p.Endpoint == amazon && os.Getenv("AWS_EC2_METADATA_DISABLED") != "true" {
		chain = append(chain, &credentials.IAM{Client: &http.Client{Timeout: 3 * time.Second}})
	}
	return credentials.NewChainCredentials(chain)
}

func (b *bucket) key(key string) string { return b.place.Prefix + key }

// try calls do until it succeeds, cannot succeed, or patience ends. n is about how many bytes go over the line.
func try[T any](ctx context.Context, b *bucket, what string, n int64, do func(context.Context) (T, error)) (T, error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval, pause.RandomizationFactor = b.pause, longestPause, 0.5
	if b.unusable != nil {
		var none T
		return none, b.unusable
	}
	limit := time.Minute + time.Duration(n/slowest)*time.Second
	began, damaged := time.Now(), 0
	got, err := backoff.Retry(ctx, func() (T, error) {
		once, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		got, err := do(once)
		if isDamaged(err) {
			damaged++
		}
		if err != nil && (ctx.Err() != nil || lasting(err) || damaged >= mostDamaged) {
			return got, backoff.Permanent(err)
		}
		return got, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(b.patience), backoff.WithNotify(
		func(err error, _ time.Duration) {
			if b.tell != nil && time.Since(began) >= b.quiet && !b.troubled.Swap(true) {
				b.tell(b.explain(what, err))
			}
		}))
	if ctx.Err() != nil {
		return got, fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	if err != nil {
		var lasting *backoff.PermanentError
		if errors.As(err, &lasting) {
			err = lasting.Unwrap()
		}
		return got, b.explain(what, err)
	}
	if b.tell != nil && b.troubled.Swap(false) {
		b.tell(nil)
	}
	return got, nil
}

// nothing is the answer of who has none.
type nothing struct{}

// put makes an object, which is durable when it returns nil: the server has held the bytes against their MD5, which
// every server knows. once: only where there is no such object, as far as the server can tell. Nobody can remove it
// before until, where that is not zero.
func (b *bucket) put(ctx context.Context, key string, data []byte, once bool, until time.Time) error {
	what := "write " + key
	options := minio.PutObjectOptions{DisableContentSha256: true, ContentType: "application/octet-stream"}
	if once {
		options.SetMatchETagExcept("*")
	}
	if !until.IsZero() {
		options.Mode, options.RetainUntilDate = minio.Compliance, until
	}
	if len(data) > partSize {
		return b.putParts(ctx, what, b.key(key), data, options)
	}
	_, err := try(ctx, b, what, int64(len(data)), func(ctx context.Context) (minio.UploadInfo, error) {
		return b.client.PutObject(ctx, b.place.Bucket, b.key(key), bytes.NewReader(data), int64(len(data)), md5Of(data), "",
			options)
	})
	return err
}

func md5Of(data []byte) string {
	sum := md5.Sum(data)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// putParts makes an object in parts, each of which is tried again for itself.
func (b *bucket) putParts(ctx context.Context, what, key string, data []byte, options minio.PutObjectOptions) error {
	id, err := try(ctx, b, what, 0, func(ctx context.Context) (string, error) {
		return b.client.NewMultipartUpload(ctx, b.place.Bucket, key, options)
	})
	if err != nil {
		return err
	}
	var parts []minio.CompletePart
	for part := range slices.Chunk(data, partSize) {
		done, err := try(ctx, b, what, int64(len(part)), func(ctx context.Context) (minio.ObjectPart, error) {
			return b.client.PutObjectPart(ctx, b.place.Bucket, key, id, len(parts)+1, bytes.NewReader(part),
				int64(len(part)), minio.PutObjectPartOptions{Md5Base64: md5Of(part), DisableContentSha256: true})
		})
		if err != nil {
			return errors.Join(err, b.abort(context.WithoutCancel(ctx), upload{key, id}))
		}
		parts = append(parts, minio.CompletePart{PartNumber: done.PartNumber, ETag: done.ETag})
	}
	_, err = try(ctx, b, what, 0, func(ctx context.Context) (minio.UploadInfo, error) {
		return b.client.CompleteMultipartUpload(ctx, b.place.Bucket, key, id, parts, minio.PutObjectOptions{})
	})
	if errors.Is(err, fs.ErrNotExist) { // by a try before, whose answer was lost
		if size, sizeErr := b.size(ctx, strings.TrimPrefix(key, b.place.Prefix)); sizeErr == nil && size == int64(len(data)) {
			return nil
		}
	}
	return err
}

// get reads n bytes of an object from an offset on, fewer where it is shorter; size is how long the object is.
// fs.ErrNotExist where there is none.
func (b *bucket) get(ctx context.Context, key string, from, n int64) (data []byte, size int64, err error) {
	type answer struct {
		data []byte
		size int64
	}
	got, err := try(ctx, b, "read "+key, n, func(ctx context.Context) (a answer, err error) {
		var options minio.GetObjectOptions
		if err := options.SetRange(from, from+n-1); err != nil {
			return a, err
		}
		body, info, header, err := b.client.GetObject(ctx, b.place.Bucket, b.key(key), options)
		if answer, ok := errors.AsType[minio.ErrorResponse](err); ok &&
			answer.StatusCode == http.StatusRequestedRangeNotSatisfiable {
			return a, nil // it is shorter
		}
		if err != nil {
			return a, err
		}
		defer body.Close()
		a.data, a.size = make([]byte, info.Size), info.Size
		if _, all, ok := strings.Cut(header.Get("Content-Range"), "/"); ok {
			if _, err := fmt.Sscan(all, &a.size); err != nil {
				return a, fmt.Errorf("a Content-Range that ends with %q", all)
			}
		}
		_, err = io.ReadFull(body, a.data)
		return a, err
	})
	return got.data, got.size, err
}

// size is how long an object is; fs.ErrNotExist where there is none.
func (b *bucket) size(ctx context.Context, key string) (int64, error) {
	info, err := try(ctx, b, "look at "+key, 0, func(ctx context.Context) (minio.ObjectInfo, error) {
		return b.client.StatObject(ctx, b.place.Bucket, b.key(key), minio.StatObjectOptions{})
	})
	return info.Size, err
}

// remove removes an object; that it is gone already is no error.
func (b *bucket) remove(ctx context.Context, key string) error {
	_, err := try(ctx, b, "remove "+key, 0, func(ctx context.Context) (nothing, error) {
		return nothing{}, b.client.RemoveObject(ctx, b.place.Bucket, b.key(key), minio.RemoveObjectOptions{})
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// list calls visit with every object whose key begins so, a page after the other.
func (b *bucket) list(ctx context.Context, prefix string, visit func(key string, size int64)) error {
	type page struct {
		objects []minio.ObjectInfo
		next    string
	}
	for next := ""; ; {
		got, err := try(ctx, b, "list "+prefix+"*", 1<<20, func(ctx context.Context) (p page, err error) {
			// The iterator asks for the page after as well, so that a page is all that is taken of it.
			options := minio.ListObjectsOptions{Prefix: b.key(prefix), Recursive: true, MaxKeys: pageSize, StartAfter: next}
			for o := range b.client.ListObjectsIter(ctx, b.place.Bucket, options) {
				if o.Err != nil {
					return p, o.Err
				}
				if p.objects = append(p.objects, o); len(p.objects) == pageSize {
					p.next = o.Key
					break
				}
			}
			return p, nil
		})
		if err != nil {
			return err
		}
		for _, o := range got.objects {
			visit(strings.TrimPrefix(o.Key, b.place.Prefix), o.Size)
		}
		if next = got.next; next == "" {
			return nil
		}
	}
}

const pageSize = 1000

// upload is one in parts that has not ended.
type upload struct{ key, id string }

// uploads is those of packs; none where the server does not tell.
func (b *bucket) uploads(ctx context.Context) ([]upload, error) {
	found, err := try(ctx, b, "list uploads", 1<<20, func(ctx context.Context) (found []upload, err error) {
		for u := range b.client.ListIncompleteUploads(ctx, b.place.Bucket, b.key(packsPrefix), true) {
			if u.Err != nil {
				return nil, u.Err
			}
			found = append(found, upload{u.Key, u.UploadID})
		}
		return found, nil
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errors.ErrUnsupported) {
		return nil, nil
	}
	return found, err
}

func (b *bucket) abort(ctx context.Context, u upload) error {
	_, err := try(ctx, b, "abort the upload of "+u.key, 0, func(ctx context.Context) (nothing, error) {
		return nothing{}, b.client.AbortMultipartUpload(ctx, b.place.Bucket, u.key, u.id)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
