package wasmrun

import (
	"time"
	"unsafe"
)

// Import is a host function of the embedding program, as it is declared:
//
//	//go:wasmimport wasmrun db.get
//	func dbGet(ptr *byte, size uint32) uint64
type Import = func(ptr *byte, size uint32) uint64

// Call calls a host function with a value and gives its reply. An error that it reported is an *Error.
func Call(function Import, request any) (any, error) {
	data, err := appendValue(nil, request, 0)
	if err != nil {
		return nil, err
	}
	packed := function(unsafe.SliceData(data), uint32(len(data)))
	pair, err := decodeAll(taken(uint32(packed>>32), uint32(packed)))
	both, ok := pair.([]any)
	if packed == 0 || err != nil || !ok || len(both) != 2 {
		return nil, Fail("HostFunctionError", "the host function gave no reply")
	}
	if both[0] == int64(0) {
		return both[1], nil
	}
	failure := &Error{Type: "HostFunctionError"}
	if err := decodeInto(both[1], failure, "the error"); err != nil {
		return nil, err
	}
	return nil, failure
}

// Request is an HTTP request for the host to do. Without a Method it is GET; a Timeout of 0 is what the event has left.
type Request struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Body    []byte            `json:"body"`
	Timeout time.Duration     `json:"-"`
}

// Response is what came back, whatever its status. Names of headers are in lower case.
type Response struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    []byte            `json:"body"`
}

//go:wasmimport wasmrun http_request
func importHTTP(ptr *byte, size uint32) uint64

// HTTP has the host do a request, to the hosts that the function was granted. What was not done is an *Error, with a
// Type such as HttpNotGranted.
func HTTP(request Request) (Response, error) {
	var response Response
	fields := map[string]any{"url": request.URL}
	if request.Method != "" {
		fields["method"] = request.Method
	}
	if len(request.Headers) > 0 {
		fields["headers"] = request.Headers
	}
	if request.Body != nil {
		fields["body"] = request.Body
	}
	if request.Timeout > 0 {
		fields["timeout_ms"] = max(1, request.Timeout.Milliseconds())
	}
	reply, err := Call(importHTTP, fields)
	if err == nil {
		err = decodeInto(reply, &response, "the response")
	}
	return response, err
}
