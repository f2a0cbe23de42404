// SPDX-License-Identifier: Apache-2.0

package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// What a URL is told of a job, as healthchecks.io and its like take it.
const (
	PingStart   = "/start"
	PingSuccess = ""
	PingFail    = "/fail"
)

const (
	pingPatience = 10 * time.Second // for one try
	pingTries    = 3
)

// Ping tells the job's URL, where it has one, how it is with it.
func (j Job) Ping(ctx context.Context, what, text string) error {
	if j.URL == "" {
		return nil
	}
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, post(ctx, j.URL+what, text) },
		backoff.WithMaxTries(pingTries))
	if err != nil {
		return fmt.Errorf("tell the url of job %s: %w", j.Name, err)
	}
	return nil
}

func post(ctx context.Context, to, text string) error {
	ctx, cancel := context.WithTimeout(ctx, pingPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(text))
	if err != nil {
		return backoff.Permanent(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if hidden, ok := errors.AsType[*url.Error](err); ok {
		return hidden.Err // the URL is a secret
	}
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20))
	if answer.StatusCode >= 300 {
		return fmt.Errorf("the answer is %s", answer.Status)
	}
	return nil
}
