// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/bkp-tool/bkp/core"
)

// Settings lists the settings of a plugin from a struct that json.Unmarshal reads them into: its fields
// that have a tag about, by their names in JSON, with the values that they have now as defaults.
//
//	type mine struct {
//		Limit float64 `json:"limit" about:"price per GiB above which nothing is stored"`
//	}
func Settings(of any) (settings []core.Setting) {
	v := reflect.Indirect(reflect.ValueOf(of))
	for i := range v.NumField() {
		f := v.Type().Field(i)
		about := f.Tag.Get("about")
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if about == "" || key == "" {
			continue
		}
		text, err := json.Marshal(v.Field(i).Interface())
		if err != nil {
			panic(fmt.Sprintf("setting %s: %v", key, err))
		}
		settings = append(settings, core.Setting{Key: key, Type: jsonType(f.Type), Default: string(text), About: about})
	}
	return settings
}

func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Slice, reflect.Array:
		return "array"
	case reflect.Map, reflect.Struct:
		return "object"
	default:
		return "integer"
	}
}
