package wasmrun

import (
	"errors"
	"math"
	"reflect"
	"sort"
	"strings"
)

// Decode puts a value as events have it into a variable of any type: structs by their fields' names, or those in a tag
// `json:"name"`; slices, maps with keys of text, pointers (nil for null and for what is missing), numbers that fit.
// What has no place in a struct is left out. The error has the type InvalidEvent and says which field is wrong.
func Decode(value any, into any) error { return decodeInto(value, into, "the value") }

func decodeInto(value any, into any, what string) error {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return errors.New("wasmrun: Decode needs a pointer")
	}
	return decode(value, target.Elem(), place{what, ""})
}

// place is where in an event a value is: itself, or what stands under a key of it.
type place struct{ owner, key string }

func (p place) String() string {
	if p.key == "" {
		return p.owner
	}
	return p.owner + "'s " + quoted(p.key)
}

func (p place) needs(kind string) string {
	if p.key == "" {
		return p.owner + " needs to be " + kind
	}
	return p.owner + " needs " + kind + " " + quoted(p.key)
}

func decode(value any, into reflect.Value, what place) error {
	if into.Kind() == reflect.Interface && into.NumMethod() == 0 {
		if value == nil {
			into.SetZero()
		} else {
			into.Set(reflect.ValueOf(value))
		}
		return nil
	}
	if value == nil {
		switch into.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			into.SetZero()
			return nil
		}
		return mismatch(what, into)
	}
	if into.Kind() == reflect.Pointer {
		fresh := reflect.New(into.Type().Elem())
		if err := decode(value, fresh.Elem(), what); err != nil {
			return err
		}
		into.Set(fresh)
		return nil
	}
	switch value := value.(type) {
	case bool:
		if into.Kind() == reflect.Bool {
			into.SetBool(value)
			return nil
		}
	case string:
		if into.Kind() == reflect.String {
			into.SetString(value)
			return nil
		}
	case []byte:
		if into.Kind() == reflect.Slice && into.Type().Elem().Kind() == reflect.Uint8 {
			into.SetBytes(value)
			return nil
		}
	case int64:
		switch {
		case into.CanInt() && !into.OverflowInt(value):
			into.SetInt(value)
			return nil
		case into.CanUint() && value >= 0 && !into.OverflowUint(uint64(value)):
			into.SetUint(uint64(value))
			return nil
		case into.CanFloat():
			into.SetFloat(float64(value))
			return nil
		}
	case uint64:
		if into.CanUint() && !into.OverflowUint(value) {
			into.SetUint(value)
			return nil
		}
		if into.CanFloat() {
			into.SetFloat(float64(value))
			return nil
		}
	case float64:
		if into.CanFloat() {
			into.SetFloat(value)
			return nil
		}
		// A number such as 3.0 is whole, whoever wrote it.
		if into.CanInt() && value == math.Trunc(value) && math.Abs(value) <= 1<<53 && !into.OverflowInt(int64(value)) {
			into.SetInt(int64(value))
			return nil
		}
	case []any:
		if into.Kind() == reflect.Slice {
			return decodeSlice(value, into, what)
		}
	case map[string]any:
		switch {
		case into.Kind() == reflect.Struct:
			return decodeStruct(value, into, what)
		case into.Kind() == reflect.Map && into.Type().Key().Kind() == reflect.String:
			return decodeMap(value, into, what)
		}
	}
	return mismatch(what, into)
}

func decodeSlice(value []any, into reflect.Value, what place) error {
	slice := reflect.MakeSlice(into.Type(), len(value), len(value))
	for at, item := range value {
		if err := decode(item, slice.Index(at), place{"an item of " + what.String(), ""}); err != nil {
			return err
		}
	}
	into.Set(slice)
	return nil
}

func decodeMap(value map[string]any, into reflect.Value, what place) error {
	made := reflect.MakeMapWithSize(into.Type(), len(value))
	for key, item := range value {
		fresh := reflect.New(into.Type().Elem()).Elem()
		if err := decode(item, fresh, place{what.String(), key}); err != nil {
			return err
		}
		made.SetMapIndex(reflect.ValueOf(key).Convert(into.Type().Key()), fresh)
	}
	into.Set(made)
	return nil
}

func decodeStruct(value map[string]any, into reflect.Value, what place) error {
	for at := range into.NumField() {
		name, _, ok := naming(into.Type().Field(at))
		item, given := value[name]
		if !ok || !given {
			continue
		}
		if err := decode(item, into.Field(at), place{what.String(), name}); err != nil {
			return err
		}
	}
	return nil
}

// naming is the name that a field has outside, whether it is left out where it is empty, and whether it is there at all.
func naming(field reflect.StructField) (name string, omits, ok bool) {
	name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
	if !field.IsExported() || name == "-" {
		return "", false, false
	}
	if name == "" {
		name = field.Name
	}
	return name, strings.Contains(options, "omitempty"), true
}

func quoted(name string) string {
	if len(name) > 60 {
		name = strings.ToValidUTF8(name[:60], "") + "…"
	}
	return "\"" + name + "\""
}

func mismatch(what place, into reflect.Value) error {
	kind := map[reflect.Kind]string{
		reflect.Bool: "a boolean", reflect.String: "a string", reflect.Map: "a map", reflect.Struct: "a map",
		reflect.Slice: "an array", reflect.Float32: "a number", reflect.Float64: "a number",
	}[into.Kind()]
	if into.Kind() == reflect.Slice && into.Type().Elem().Kind() == reflect.Uint8 {
		kind = "bytes"
	}
	if into.CanInt() || into.CanUint() {
		kind = "a whole number in the range of " + into.Type().String()
	}
	if kind == "" {
		return errors.New("wasmrun: no event can become a " + into.Type().String())
	}
	return Fail("InvalidEvent", what.needs(kind))
}

func appendValue(out []byte, value any, depth int) ([]byte, error) {
	switch value := value.(type) {
	case nil:
		return append(out, 0xc0), nil
	case bool:
		if value {
			return append(out, 0xc3), nil
		}
		return append(out, 0xc2), nil
	case int64:
		return appendInt(out, value), nil
	case uint64:
		return appendUint(out, value), nil
	case float64:
		return appendFloat(out, value), nil
	case string:
		return appendString(out, valid(value)), nil
	case []byte:
		if value == nil {
			return append(out, 0xc0), nil
		}
		return appendBytes(out, value), nil
	}
	return appendReflected(out, reflect.ValueOf(value), depth)
}

func appendReflected(out []byte, value reflect.Value, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, errors.New("the answer is nested too deep, or holds itself")
	}
	var err error
	switch value.Kind() {
	case reflect.Interface, reflect.Pointer:
		if value.IsNil() {
			return append(out, 0xc0), nil
		}
		if value.Kind() == reflect.Interface {
			return appendValue(out, value.Elem().Interface(), depth)
		}
		return appendReflected(out, value.Elem(), depth+1)
	case reflect.Bool:
		return appendValue(out, value.Bool(), depth)
	case reflect.Float32, reflect.Float64:
		return appendFloat(out, value.Float()), nil
	case reflect.String:
		return appendString(out, valid(value.String())), nil
	case reflect.Slice, reflect.Array:
		if value.Kind() == reflect.Slice && value.IsNil() {
			return append(out, 0xc0), nil
		}
		if value.Kind() == reflect.Slice && value.Type().Elem().Kind() == reflect.Uint8 {
			return appendBytes(out, value.Bytes()), nil
		}
		out = appendLength(out, value.Len(), 0x90, 15, 0, 0xdc)
		for at := range value.Len() {
			if out, err = appendValue(out, value.Index(at).Interface(), depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	case reflect.Map:
		return appendMap(out, value, depth)
	case reflect.Struct:
		return appendStruct(out, value, depth)
	}
	if value.CanInt() {
		return appendInt(out, value.Int()), nil
	}
	if value.CanUint() {
		return appendUint(out, value.Uint()), nil
	}
	if !value.IsValid() {
		return append(out, 0xc0), nil
	}
	return nil, errors.New("a " + value.Type().String() + " cannot be answered")
}

func appendMap(out []byte, value reflect.Value, depth int) ([]byte, error) {
	if value.IsNil() {
		return append(out, 0xc0), nil
	}
	keys := value.MapKeys()
	for _, key := range keys {
		if key.Kind() != reflect.String {
			return nil, errors.New("a " + value.Type().String() + " cannot be answered: keys are text")
		}
	}
	sort.Slice(keys, func(a, b int) bool { return keys[a].String() < keys[b].String() })
	out = appendLength(out, len(keys), 0x80, 15, 0, 0xde)
	for _, key := range keys {
		var err error
		out = appendString(out, valid(key.String()))
		if out, err = appendValue(out, value.MapIndex(key).Interface(), depth+1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func appendStruct(out []byte, value reflect.Value, depth int) ([]byte, error) {
	var names []string
	var fields []reflect.Value
	for at := range value.NumField() {
		name, omits, ok := naming(value.Type().Field(at))
		if ok && !(omits && value.Field(at).IsZero()) {
			names, fields = append(names, name), append(fields, value.Field(at))
		}
	}
	out = appendLength(out, len(names), 0x80, 15, 0, 0xde)
	for at, name := range names {
		var err error
		out = appendString(out, name)
		if out, err = appendValue(out, fields[at].Interface(), depth+1); err != nil {
			return nil, err
		}
	}
	return out, nil
}
