// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/bkp-tool/bkp/core"
)

const setCredentials = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for the node, or write them into " +
	"~/.aws/credentials (AWS_SHARED_CREDENTIALS_FILE names another file, profile=NAME in the URL another profile)"

// again are the codes of answers that may be others the next time, whatever their status.
var again = []string{"IncompleteBody", "RequestTimeout", "OperationAborted"}

// isDamaged reports whether bytes were damaged on their way.
func isDamaged(err error) bool {
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	return ok && slices.Contains([]string{"BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}, answer.Code)
}

// busy are the statuses of a server that has no time now.
var busy = []int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, 499}

// lasting reports whether trying again changes nothing.
func lasting(err error) bool {
	if answer, ok := errors.AsType[minio.ErrorResponse](err); ok && answer.StatusCode > 0 {
		return answer.StatusCode == http.StatusNotImplemented ||
			answer.StatusCode < 500 && !slices.Contains(busy, answer.StatusCode) && !slices.Contains(again, answer.Code) &&
				!isDamaged(err)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	return strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// isTaken reports whether an object was not made since there is one already.
func isTaken(err error) bool {
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	return ok && (answer.StatusCode == http.StatusPreconditionFailed || answer.StatusCode == http.StatusConflict)
}

// explain says what was being done, and what to do about it. That there is no such object is fs.ErrNotExist.
func (b *bucket) explain(what string, err error) error {
	where := b.place.Short()
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("the server took too long")
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return core.WithHint(fmt.Errorf("%s: %s: %w", where, what, err),
			"name the file of the server's authority in SSL_CERT_FILE")
	}
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok {
		return core.WithHint(fmt.Errorf("%s: %s: %s does not answer: %w", where, what, b.place.Endpoint, err),
			"check the endpoint in the URL, and that this machine reaches it")
	}
	switch answer.Code {
	case "NoSuchKey", "NoSuchUpload":
		return fmt.Errorf("%s: %s: %w", where, what, fs.ErrNotExist)
	case "NotImplemented", "ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration":
		return fmt.Errorf("%s: %s: %w by the server", where, what, errors.ErrUnsupported)
	case "NoSuchBucket":
		return core.WithHint(core.Fail(core.CodeNoName, "%s: %s has no bucket %s", where, b.place.Endpoint, b.place.Bucket),
			"make it first (aws s3 mb s3://%s, or the server's own page), or correct the URL", b.place.Bucket)
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidClientTokenId",
		"XAdminUserNotFound": // the last is versitygw's
		return core.WithHint(core.Fail(core.CodeRefused, "%s: %s: the server does not accept the credentials (%s)", where,
			what, answer.Code), "%s", setCredentials)
	case "AccessDenied", "AllAccessDisabled", "AccountProblem":
		also := ""
		if b.place.byVersion() {
			also = ", to list and delete versions, and to read and set retention,"
		}
		return core.WithHint(core.Fail(core.CodeRefused, "%s: %s: the server does not allow it (%s)", where, what,
			answer.Code), "give these credentials the right to list, read, write and delete objects, and to abort uploads,"+
			"%s in bucket %s", also, b.place.Bucket)
	case "AuthorizationHeaderMalformed", "InvalidRegion", "PermanentRedirect", "IllegalLocationConstraintException":
		return core.WithHint(fmt.Errorf("%s: %s: the bucket is in another region (%s)", where, what, answer.Message),
			"add region=NAME to the URL")
	case "RequestTimeTooSkewed":
		return core.WithHint(fmt.Errorf("%s: %s: the server's clock is another one", where, what), "set this machine's clock")
	}
	if answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden {
		return core.WithHint(core.Fail(core.CodeRefused, "%s: %s: the server refuses it (%s)", where, what, answer.Code),
			"%s", setCredentials)
	}
	return fmt.Errorf("%s: %s: the server answers %d %s: %w", where, what, answer.StatusCode, answer.Code, answer)
}
