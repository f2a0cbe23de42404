// SPDX-License-Identifier: Apache-2.0

package s3test

import (
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// locking is versions and Object Lock before a server in memory that has neither, as far as bkp asks for them: each
// version is an object of that server, whose key has its number behind a tilde.
type locking struct {
	behind http.Handler
	bucket string // "/NAME"

	mu      sync.Mutex
	last    int
	objects map[string][]*version // by path, the newest first
	uploads map[string]*version   // in parts, by id
}

// version is one of an object, or a marker over those before.
type version struct {
	path   string
	number int
	marker bool
	etag   string
	size   string
	until  time.Time // nobody can remove it before; zero where anybody may
}

const lockUntil = "X-Amz-Object-Lock-Retain-Until-Date"

func (v *version) id() string { return fmt.Sprint("v", v.number) }

// at is the path of the object that stands for a version.
func (v *version) at() string { return fmt.Sprintf("%s~%d", v.path, v.number) }

func (l *locking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q, path := r.URL.Query(), r.URL.Path
	inBucket := strings.TrimSuffix(path, "/") == l.bucket
	switch {
	case r.Method == http.MethodGet && q.Has("object-lock"):
		fmt.Fprint(w, "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>")
	case r.Method == http.MethodGet && inBucket && q.Has("uploads"):
		answer := l.ask(r, path)
		fmt.Fprint(w, regexp.MustCompile(`~\d+<`).ReplaceAllString(answer.Body.String(), "<"))
	case r.Method == http.MethodGet && inBucket && !q.Has("location"):
		l.list(w, q.Get("prefix"), q.Get("start-after"), q.Has("versions"))
	case inBucket:
		l.pass(w, r, path)
	case q.Has("uploadId"):
		l.part(w, r, q.Get("uploadId"))
	case r.Method == http.MethodPut && !q.Has("retention") || r.Method == http.MethodPost:
		l.write(w, r)
	case r.Method == http.MethodDelete && !q.Has("versionId"):
		l.last++
		l.objects[path] = slices.Insert(l.objects[path], 0, &version{path: path, number: l.last, marker: true})
		w.WriteHeader(http.StatusNoContent)
	default:
		l.version(w, r, l.find(path, q.Get("versionId")))
	}
}

// find is a version of an object, or with id "" the newest; nil where there is none.
func (l *locking) find(path, id string) *version {
	for _, v := range l.objects[path] {
		if id == "" || v.id() == id {
			return v
		}
	}
	return nil
}

// version answers what is asked about a version.
func (l *locking) version(w http.ResponseWriter, r *http.Request, v *version) {
	switch {
	case v == nil || v.marker && r.Method != http.MethodDelete:
		refusal(w, http.StatusNotFound, "NoSuchKey")
	case r.Method == http.MethodPut:
		var asked struct {
			Mode            string
			RetainUntilDate time.Time
		}
		err := xml.NewDecoder(r.Body).Decode(&asked)
		if err != nil || asked.Mode != "COMPLIANCE" || asked.RetainUntilDate.Before(v.until) {
			refusal(w, http.StatusForbidden, "AccessDenied")
			return
		}
		v.until = asked.RetainUntilDate
	case r.Method == http.MethodDelete && v.until.After(time.Now()):
		refusal(w, http.StatusForbidden, "AccessDenied")
	case r.Method == http.MethodDelete:
		l.objects[v.path] = slices.DeleteFunc(l.objects[v.path], func(o *version) bool { return o == v })
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("X-Amz-Version-Id", v.id())
		if !v.until.IsZero() {
			w.Header().Set(lockUntil, v.until.UTC().Format(time.RFC3339))
		}
		l.pass(w, r, v.at())
	}
}

// write makes a version, or begins one in parts.
func (l *locking) write(w http.ResponseWriter, r *http.Request) {
	l.last++
	v := &version{path: r.URL.Path, number: l.last}
	v.until, _ = time.Parse(time.RFC3339, r.Header.Get(lockUntil))
	r.Header.Del(lockUntil) // else the server behind says it for ever
	if newest := l.find(v.path, ""); r.Header.Get("If-None-Match") == "*" && newest != nil && !newest.marker {
		refusal(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	answer := l.pass(w, r, v.at())
	if r.Method == http.MethodPost {
		_, after, _ := strings.Cut(answer.Body.String(), "<UploadId>")
		id, _, _ := strings.Cut(after, "<")
		l.uploads[id] = v
		return
	}
	l.made(v)
}

// part takes a part of a version, or ends it.
func (l *locking) part(w http.ResponseWriter, r *http.Request, id string) {
	v := l.uploads[id]
	if v == nil {
		refusal(w, http.StatusNotFound, "NoSuchUpload")
		return
	}
	if answer := l.pass(w, r, v.at()); r.Method == http.MethodPost && answer.Code == http.StatusOK {
		l.made(v)
	}
}

// made takes in a version that the server behind has now.
func (l *locking) made(v *version) {
	answer := l.ask(httptest.NewRequest(http.MethodHead, v.at(), nil), v.at())
	if answer.Code != http.StatusOK {
		return
	}
	v.etag, v.size = answer.Header().Get("ETag"), answer.Header().Get("Content-Length")
	l.objects[v.path] = slices.Insert(l.objects[v.path], 0, v)
}

// list answers with the newest versions of objects, or with all of them.
func (l *locking) list(w http.ResponseWriter, prefix, after string, all bool) {
	kind := map[bool]string{false: "ListBucketResult", true: "ListVersionsResult"}[all]
	fmt.Fprintf(w, "<%s><IsTruncated>false</IsTruncated>", kind)
	for _, path := range slices.Sorted(maps.Keys(l.objects)) {
		key := strings.TrimPrefix(path, l.bucket+"/")
		if !strings.HasPrefix(key, prefix) || key <= after {
			continue
		}
		for i, v := range l.objects[path] {
			tag := "Contents"
			switch {
			case all && v.marker:
				tag = "DeleteMarker"
			case all:
				tag = "Version"
			case i > 0 || v.marker:
				continue
			}
			fmt.Fprintf(w, "<%s><Key>%s</Key><VersionId>%s</VersionId><IsLatest>%v</IsLatest><ETag>%s</ETag>"+
				"<Size>0%s</Size><LastModified>2026-12-01T00:00:00Z</LastModified></%s>", tag, key, v.id(), i == 0, v.etag, v.size, tag)
		}
	}
	fmt.Fprintf(w, "</%s>", kind)
}

// ask has the server behind answer about another path.
func (l *locking) ask(r *http.Request, path string) *httptest.ResponseRecorder {
	asked := r.Clone(r.Context())
	q := asked.URL.Query()
	q.Del("versionId")
	asked.URL.Path, asked.URL.RawPath, asked.URL.RawQuery = path, "", q.Encode()
	answer := httptest.NewRecorder()
	l.behind.ServeHTTP(answer, asked)
	return answer
}

// pass is ask, with the answer passed on.
func (l *locking) pass(w http.ResponseWriter, r *http.Request, path string) *httptest.ResponseRecorder {
	answer := l.ask(r, path)
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
	return answer
}
