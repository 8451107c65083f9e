// vectors: the guest of the test vectors, see ../../../vectors/README.md.
package main

import (
	"encoding/hex"
	"errors"
	"math"
	"sort"
	"strconv"
	"strings"

	"wasmrun"
)

var starts int

func init() {
	wasmrun.Init(func() error {
		starts++
		return nil
	})
}

func main() {}

//go:wasmexport echo
func echo(ptr, size uint32) uint64 {
	return wasmrun.Entry(ptr, size, func(_ wasmrun.Context, event any) (any, error) { return event, nil })
}

//go:wasmexport show_event
func showEvent(ptr, size uint32) uint64 {
	return wasmrun.Entry(ptr, size, func(_ wasmrun.Context, event any) (string, error) {
		var out strings.Builder
		show(&out, event)
		return out.String(), nil
	})
}

func show(out *strings.Builder, value any) {
	switch value := value.(type) {
	case nil:
		out.WriteString("null")
	case bool:
		out.WriteString(strconv.FormatBool(value))
	case int64:
		out.WriteString(strconv.FormatInt(value, 10))
	case uint64:
		out.WriteString(strconv.FormatUint(value, 10))
	case float64:
		if math.IsNaN(value) {
			out.WriteString("nan")
		} else {
			bits := strconv.FormatUint(math.Float64bits(value), 16)
			out.WriteString("0x" + strings.Repeat("0", 16-len(bits)) + bits)
		}
	case string:
		quote(out, value)
	case []byte:
		out.WriteString(`b"` + hex.EncodeToString(value) + `"`)
	case []any:
		out.WriteByte('[')
		for at, item := range value {
			if at > 0 {
				out.WriteByte(',')
			}
			show(out, item)
		}
		out.WriteByte(']')
	case map[string]any:
		keys := make([]string, 0, len(value))
		for key := range value {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		out.WriteByte('{')
		for at, key := range keys {
			if at > 0 {
				out.WriteByte(',')
			}
			quote(out, key)
			out.WriteByte(':')
			show(out, value[key])
		}
		out.WriteByte('}')
	}
}

func quote(out *strings.Builder, text string) {
	out.WriteByte('"')
	for at := range len(text) {
		switch letter := text[at]; {
		case letter == '"' || letter == '\\':
			out.WriteByte('\\')
			out.WriteByte(letter)
		case letter < ' ':
			out.WriteString(`\u00` + hex.EncodeToString([]byte{letter}))
		default:
			out.WriteByte(letter)
		}
	}
	out.WriteByte('"')
}

//go:wasmexport show_context
func showContext(ptr, size uint32) uint64 {
	return wasmrun.Entry(ptr, size, func(ctx wasmrun.Context, _ any) (map[string]any, error) {
		return map[string]any{
			"request_id": ctx.RequestID, "function": ctx.Function, "version": ctx.Version, "deadline_ms": ctx.DeadlineMS,
			"memory_limit_bytes": ctx.MemoryLimitBytes, "fuel_limit": ctx.FuelLimit, "client_context": ctx.ClientContext,
			"tenant_id": ctx.TenantID, "trace_id": ctx.TraceID,
		}, nil
	})
}

//go:wasmexport fail
func fail(ptr, size uint32) uint64 {
	return wasmrun.Entry(ptr, size, func(_ wasmrun.Context, event wasmrun.Error) (any, error) { return nil, &event })
}

//go:wasmexport write_logs
func writeLogs(ptr, size uint32) uint64 {
	return wasmrun.Entry(ptr, size, func(_ wasmrun.Context, lines [][]any) (any, error) {
		for _, line := range lines {
			if len(line) != 2 {
				return nil, errors.New("a line is a level and a text")
			}
			var level int
			var text string
			if err := errors.Join(wasmrun.Decode(line[0], &level), wasmrun.Decode(line[1], &text)); err != nil {
				return nil, err
			}
			wasmrun.Log(level, text)
		}
		return nil, nil
	})
}

//go:wasmexport count_starts
func countStarts(ptr, size uint32) uint64 {
	return wasmrun.Entry(ptr, size, func(_ wasmrun.Context, _ any) (int, error) { return starts, nil })
}

//go:wasmexport fetch
func fetch(ptr, size uint32) uint64 {
	return wasmrun.Entry(ptr, size, func(_ wasmrun.Context, request wasmrun.Request) (wasmrun.Response, error) {
		return wasmrun.HTTP(request)
	})
}

//go:wasmimport wasmrun vectors.ask
func importAsk(data *byte, size uint32) uint64

//go:wasmexport ask
func ask(ptr, size uint32) uint64 {
	return wasmrun.Entry(ptr, size, func(_ wasmrun.Context, event any) (any, error) {
		return wasmrun.Call(importAsk, event)
	})
}
