// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Place is a bucket, and where in it a store stands. It never has credentials.
type Place struct {
	Bucket   string
	Prefix   string // "" or with a slash at its end
	Endpoint string // HOST or HOST:PORT
	Plain    bool   // HTTP without TLS
	Region   string // "" to ask the server
	Lookup   string // how the server wants to be told the bucket: "path", "dns", or "" where it does not matter
	Profile  string // of the credentials file; "" for what the environment says

	// Lock is for how long nobody can remove a pack that was put or leaned on; Unlocked where none is locked any more,
	// and what goes is removed with all its versions; 0 where nobody has said anything about it.
	Lock time.Duration
}

// Unlocked is the Lock of a place that may have packs which were locked once.
const Unlocked time.Duration = -1

// mostLock is the longest lock: nobody could take back what was a slip of the hand.
const mostLock = 10 * 365 * 24 * time.Hour

// ParseLock reads a span that packs are locked for, or off.
func ParseLock(text string) (time.Duration, error) {
	if text == lockOff {
		return Unlocked, nil
	}
	span, err := core.ParseSpan(text)
	if err != nil || span > mostLock {
		return 0, core.Fail(core.CodeUsage, "lock %s: want a time span like 30d, of 10 years at most, or off", text)
	}
	return span, nil
}

const lockOff = "off"

// LockText is the lock as ParseLock reads it; "" where there is none to tell of.
func (p Place) LockText() string {
	switch {
	case p.Lock > 0:
		return core.FormatSpan(p.Lock)
	case p.Lock < 0:
		return lockOff
	}
	return ""
}

// byVersion reports whether packs are removed with all their versions, once their locks let them go.
func (p Place) byVersion() bool { return p.Lock != 0 }

const (
	scheme = "s3://"
	amazon = "s3.amazonaws.com"
)

// IsURL reports whether text is meant to be the URL of a place.
func IsURL(text string) bool { return strings.HasPrefix(text, scheme) }

// Parse reads s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&lookup=path|dns&profile=NAME&lock=SPAN|off].
func Parse(text string) (p Place, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.Fragment != "" {
		return p, core.Fail(core.CodeUsage, "want s3://BUCKET/PREFIX?endpoint=https://HOST") // it may hold a secret
	}
	if u.User != nil {
		return p, secretsElsewhere()
	}
	if u.Port() != "" {
		return p, core.WithHint(core.Fail(core.CodeUsage, "s3://%s: a bucket has no port", u.Host),
			"the server is told apart: s3://BUCKET/PREFIX?endpoint=https://%s", u.Host)
	}
	p = Place{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), Endpoint: amazon}
	if p.Prefix != "" {
		p.Prefix += "/"
	}
	options, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return p, core.Fail(core.CodeUsage, "s3://%s: what stands behind the question mark cannot be read", u.Host)
	}
	for name, values := range options {
		if err := p.set(name, values[len(values)-1]); err != nil {
			return p, err
		}
	}
	return p, nil
}

func secretsElsewhere() error {
	return core.WithHint(core.Fail(core.CodeUsage, "credentials do not belong into the URL of a bucket"), "%s", setCredentials)
}

func (p *Place) set(name, value string) error {
	switch name {
	case "endpoint":
		return p.setEndpoint(value)
	case "region":
		p.Region = value
	case "lookup":
		if value != "path" && value != "dns" {
			return core.Fail(core.CodeUsage, "lookup=%s: want path or dns", value)
		}
		p.Lookup = value
	case "profile":
		p.Profile = value
	case "lock":
		var err error
		p.Lock, err = ParseLock(value)
		return err
	default:
		lower := strings.ToLower(name)
		if slices.ContainsFunc([]string{"key", "secret", "token", "pass"}, func(s string) bool { return strings.Contains(lower, s) }) {
			return secretsElsewhere()
		}
		return core.Fail(core.CodeUsage, "%s: want endpoint, region, lookup, lock or profile", name)
	}
	return nil
}

func (p *Place) setEndpoint(value string) error {
	if !strings.Contains(value, "://") {
		value = "https://" + value
	}
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" ||
		u.RawQuery != "" {
		return core.Fail(core.CodeUsage, "endpoint: want https://HOST or https://HOST:PORT")
	}
	if u.User != nil {
		return secretsElsewhere()
	}
	p.Endpoint, p.Plain = u.Host, u.Scheme == "http"
	return nil
}

// String is the URL of the place.
func (p Place) String() string {
	options := url.Values{}
	if p.Endpoint != amazon || p.Plain {
		options.Set("endpoint", map[bool]string{false: "https://", true: "http://"}[p.Plain]+p.Endpoint)
	}
	for name, value := range map[string]string{"region": p.Region, "lookup": p.Lookup, "profile": p.Profile,
		"lock": p.LockText()} {
		if value != "" {
			options.Set(name, value)
		}
	}
	text := p.Short()
	if len(options) > 0 {
		query := strings.NewReplacer("%3A", ":", "%2F", "/").Replace(options.Encode())
		text += "?" + query
	}
	return text
}

// Short is the URL without its options.
func (p Place) Short() string { return scheme + strings.TrimSuffix(p.Bucket+"/"+p.Prefix, "/") }

// Same reports whether two places are the same packs, as far as their names tell.
func (p Place) Same(o Place) bool {
	return p.Bucket == o.Bucket && p.Prefix == o.Prefix && p.Endpoint == o.Endpoint
}
