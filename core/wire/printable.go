// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"reflect"

	"github.com/bkp-tool/bkp/core"
)

// ascii reports whether a message cannot hold anything that does not print: JSON escapes control characters, and all
// others are not ASCII.
func ascii(data []byte) bool {
	return bytes.IndexByte(data, '\\') < 0 && bytes.IndexFunc(data, func(r rune) bool { return r > '~' }) < 0
}

// printable escapes whatever does not print in the texts of a message: reasons, labels, addresses and names are shown
// and logged, and a peer must not steer a terminal by them, nor write lines of its own.
func printable(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(core.Printable(v.String()))
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				printable(f)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		for i := range v.Len() {
			printable(v.Index(i))
		}
	case reflect.Map:
		clean := reflect.MakeMapWithSize(v.Type(), v.Len())
		for _, key := range v.MapKeys() {
			k, value := reflect.New(key.Type()).Elem(), reflect.New(v.Type().Elem()).Elem()
			k.Set(key)
			value.Set(v.MapIndex(key))
			printable(k)
			printable(value)
			clean.SetMapIndex(k, value)
		}
		if v.Len() > 0 {
			v.Set(clean)
		}
	default:
	}
}
