// Package wasmrun is for functions that run in wasmrun: a handler takes an event and its context, and answers a value
// or reports an error.
//
//	func greet(ctx wasmrun.Context, event any) (any, error) { … }
//
//	func init() { wasmrun.Handle(greet) }
//
//	func main() {} // is never called
//
// It speaks the native ABI, version 1, and needs Go 1.24 or newer and nothing but its standard library.
package wasmrun

import (
	"errors"
	"maps"
	"runtime"
	"strconv"
	"strings"
	"unsafe"
)

// Context is what the host tells about an event. What the caller did not set is nil.
type Context struct {
	RequestID        string  `json:"request_id"`
	Function         string  `json:"function"`
	Version          string  `json:"version"`
	DeadlineMS       int64   `json:"deadline_ms"` // Unix time
	MemoryLimitBytes uint64  `json:"memory_limit_bytes"`
	FuelLimit        uint64  `json:"fuel_limit"` // 0: nothing is metered
	ClientContext    any     `json:"client_context"`
	TenantID         *string `json:"tenant_id"`
	TraceID          *string `json:"trace_id"`
}

// Error is an error as a caller sees it. Handlers report one with Fail; host functions and HTTP requests give one.
type Error struct {
	Type    string   `json:"type"`
	Message string   `json:"message"`
	Stack   []string `json:"stack"`
}

func (e *Error) Error() string { return e.Type + ": " + e.Message }

// Fail is an error of a type, for a handler to return.
func Fail(kind, message string) *Error { return &Error{Type: kind, Message: message} }

// Levels of the log.
const (
	Trace = iota
	Debug
	Info
	Warn
	Failure
)

// Log writes a line to the function's log.
func Log(level int, text string) {
	importLog(int32(level), unsafe.StringData(text), uint32(len(text)))
}

var (
	handler func(ctx Context, event any) (any, error)
	starts  []func() error
)

// Handle makes a function the handler, the entry wasmrun_handle. Call it in an init function.
//
// The event is decoded into the handler's own type; see Decode. With `any` it is nil, bool, int64 (uint64 above its
// range), float64, string, []byte, []any or map[string]any. An error that is no *Error is reported with the type
// "Error", a panic with the type "Panic" and its stack.
func Handle[Event, Answer any](handle func(ctx Context, event Event) (Answer, error)) {
	handler = untyped(handle)
}

// Init has a function run once, while the sandbox is being prepared and before any event. An error traps.
func Init(start func() error) { starts = append(starts, start) }

// Entry answers one event of an entry with another name than wasmrun_handle:
//
//	//go:wasmexport shout
//	func shoutEntry(ptr, size uint32) uint64 { return wasmrun.Entry(ptr, size, shout) }
func Entry[Event, Answer any](ptr, size uint32, handle func(ctx Context, event Event) (Answer, error)) uint64 {
	return answer(ptr, size, untyped(handle))
}

// Raw answers one event of an entry that takes and gives bytes; its name ends in _raw. An error traps, because bytes
// have no place for one; it is logged first.
func Raw(ptr, size uint32, handle func(input []byte) ([]byte, error)) uint64 {
	eventStarts()
	output, err := handle(taken(ptr, size))
	if err != nil {
		Log(Failure, err.Error())
		panic(err)
	}
	return give(output)
}

func untyped[Event, Answer any](handle func(ctx Context, event Event) (Answer, error)) func(Context, any) (any, error) {
	return func(ctx Context, event any) (any, error) {
		var typed Event
		if err := decodeInto(event, &typed, "the event"); err != nil {
			return nil, err
		}
		return handle(ctx, typed)
	}
}

func answer(ptr, size uint32, handle func(Context, any) (any, error)) uint64 {
	eventStarts()
	value, err := attempt(taken(ptr, size), handle)
	if err == nil {
		// 0, and the value.
		out, failed := appendValue([]byte{0x92, 0}, value, 0)
		if failed == nil {
			return give(out)
		}
		err = Fail("InvalidAnswer", failed.Error())
	}
	return give(appendError([]byte{0x92, 1}, err))
}

func attempt(input []byte, handle func(Context, any) (any, error)) (value any, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			value, err = nil, &Error{"Panic", text(cause), stack()}
		}
	}()
	pair, err := decodeAll(input)
	both, ok := pair.([]any)
	if err != nil || !ok || len(both) != 2 {
		return nil, Fail("InvalidInput", "the input is not MessagePack of [event, context], or is nested too deep")
	}
	var ctx Context
	if fields, ok := both[1].(map[string]any); ok {
		maps.DeleteFunc(fields, func(_ string, field any) bool { return field == nil })
	}
	if err := decodeInto(both[1], &ctx, "the context"); err != nil {
		return nil, Fail("InvalidInput", err.Error())
	}
	if handle == nil {
		return nil, Fail("NoHandler", "no handler was given to wasmrun.Handle; name the entry that there is")
	}
	return handle(ctx, both[0])
}

func appendError(out []byte, err error) []byte {
	reported := &Error{Type: "Error", Message: err.Error()}
	errors.As(err, &reported)
	out = appendString(append(out, 0x83), "type")
	out = appendString(appendString(out, valid(reported.Type)), "message")
	out = appendString(appendString(out, valid(reported.Message)), "stack")
	out = appendLength(out, len(reported.Stack), 0x90, 15, 0, 0xdc)
	for _, frame := range reported.Stack {
		out = appendString(out, valid(frame))
	}
	return out
}

// valid is text as the ABI wants it, UTF-8.
func valid(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

func text(cause any) string {
	switch cause := cause.(type) {
	case error:
		return cause.Error()
	case string:
		return cause
	}
	return "a panic that is neither an error nor a text"
}

// stack is the functions that were running when a panic began, innermost first.
func stack() []string {
	var frames []string
	pcs := make([]uintptr, 64)
	pcs = pcs[:runtime.Callers(0, pcs)]
	found := runtime.CallersFrames(pcs)
	for {
		frame, more := found.Next()
		switch {
		case frame.Function == "runtime.gopanic":
			frames = nil // what is above it is how the panic was caught
		case frame.Function == "wasmrun.attempt":
			return frames
		case !strings.HasPrefix(frame.Function, "runtime."):
			frames = append(frames, frame.Function+" "+frame.File+":"+strconv.Itoa(frame.Line))
		}
		if !more {
			return frames
		}
	}
}
