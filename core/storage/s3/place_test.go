// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
)

func TestPlaceIsReadAndWritten(t *testing.T) {
	for text, want := range map[string]Place{
		"s3://b":             {Bucket: "b", Endpoint: amazon},
		"s3://b/":            {Bucket: "b", Endpoint: amazon},
		"s3://b/a/c/":        {Bucket: "b", Prefix: "a/c/", Endpoint: amazon},
		"s3://b?region=eu-1": {Bucket: "b", Endpoint: amazon, Region: "eu-1"},
		"s3://b/p?endpoint=https://s3.example:9000&lookup=path":   {Bucket: "b", Prefix: "p/", Endpoint: "s3.example:9000", Lookup: "path"},
		"s3://b/p?endpoint=s3.example":                            {Bucket: "b", Prefix: "p/", Endpoint: "s3.example"},
		"s3://b/p?lock=30d":                                       {Bucket: "b", Prefix: "p/", Endpoint: amazon, Lock: 720 * time.Hour},
		"s3://b/p?lock=90m":                                       {Bucket: "b", Prefix: "p/", Endpoint: amazon, Lock: 90 * time.Minute},
		"s3://b/p?lock=off":                                       {Bucket: "b", Prefix: "p/", Endpoint: amazon, Lock: Unlocked},
		"s3://b/p?endpoint=http://127.0.0.1:7070&profile=backups": {Bucket: "b", Prefix: "p/", Endpoint: "127.0.0.1:7070", Plain: true, Profile: "backups"},
	} {
		got, err := Parse(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
		again, err := Parse(got.String())
		if err != nil || again != got {
			t.Errorf("%s is written as %s, which is %+v, %v", text, got, again, err)
		}
	}
}

// What is no place is refused, with what to write instead; and what may be a secret is never said again.
func TestWhatIsNoPlaceIsRefused(t *testing.T) {
	for text, hint := range map[string]string{
		"s3:///p":                              "",
		"s3://b:9000/p":                        "endpoint=https://b:9000",
		"s3://AKIA:hidden@b/p":                 "AWS_ACCESS_KEY_ID",
		"s3://b/p?secret_key=hidden":           "AWS_ACCESS_KEY_ID",
		"s3://b/p?accessKey=hidden":            "AWS_ACCESS_KEY_ID",
		"s3://b?endpoint=https://u:hidden@h":   "AWS_ACCESS_KEY_ID",
		"s3://b/p?endpoint=https://h/path":     "",
		"s3://b/p?endpoint=ftp://h":            "",
		"s3://b/p?lookup=virtual":              "",
		"s3://b/p?reigon=x":                    "",
		"s3://b/p?lock=11y":                    "",
		"s3://b/p?lock=-1h":                    "",
		"s3://b/p#hidden":                      "",
		"s3://b/%zz?endpoint=hidden":           "",
		"https://b.s3.amazonaws.com/p?hidden=": "",
	} {
		_, err := Parse(text)
		if err == nil || core.CodeOf(err) != core.CodeUsage {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if said := err.Error() + core.HintOf(err); strings.Contains(said, "hidden") || !strings.Contains(core.HintOf(err), hint) {
			t.Errorf("%s: %q, hint %q", text, err, core.HintOf(err))
		}
	}
}
