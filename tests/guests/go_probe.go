// probe: what the Go SDK does with types, panics and host functions.
package main

import (
	"errors"

	"wasmrun"
)

type inner struct {
	Small  int8              `json:"small"`
	Ratio  float32           `json:"ratio"`
	Names  []string          `json:"names"`
	Labels map[string]uint16 `json:"labels"`
	Data   []byte            `json:"data,omitempty"`
	Maybe  *bool             `json:"maybe"`
	Any    any               `json:"any"`
	Same   string
	hidden int
	Never  string `json:"-"`
}

type outer struct {
	Inner inner   `json:"inner"`
	More  []inner `json:"more,omitempty"`
}

func main() {}

//go:wasmexport typed
func typed(ptr, size uint32) uint64 {
	return wasmrun.Entry(ptr, size, func(_ wasmrun.Context, event outer) (outer, error) { return event, nil })
}

//go:wasmexport panics
func panics(ptr, size uint32) uint64 {
	return wasmrun.Entry(ptr, size, func(_ wasmrun.Context, at int) ([]int, error) { return nil, tooFar([]int{1}, at) })
}

//go:noinline
func tooFar(list []int, at int) error {
	list[at]++
	return errors.New("it did not panic")
}

type ring struct {
	Next *ring
}

//go:wasmexport answers
func answers(ptr, size uint32) uint64 {
	return wasmrun.Entry(ptr, size, func(_ wasmrun.Context, which string) (any, error) {
		endless := &ring{}
		endless.Next = endless
		var none *ring
		return map[string]any{
			"ring": endless, "channel": make(chan int), "keys": map[int]int{1: 1}, "nothing": none, "text": "\xff",
			"numbers": []any{int8(-1), uint8(2), float32(1.5), [2]bool{true, false}},
		}[which], nil
	})
}

//go:wasmexport reverse_raw
func reverse(ptr, size uint32) uint64 {
	return wasmrun.Raw(ptr, size, func(input []byte) ([]byte, error) {
		if len(input) == 1 {
			return nil, errors.New("one byte has no order")
		}
		for a, b := 0, len(input)-1; a < b; a, b = a+1, b-1 {
			input[a], input[b] = input[b], input[a]
		}
		return input, nil
	})
}

// Takes garbage in the middle of a call of the host.
//
//go:wasmimport wasmrun db.get
func dbGet(data *byte, size uint32) uint64

//go:wasmexport asks
func asks(ptr, size uint32) uint64 {
	return wasmrun.Entry(ptr, size, func(_ wasmrun.Context, times int) (int, error) {
		total := 0
		for at := range times {
			reply, err := wasmrun.Call(dbGet, at)
			if err != nil {
				return 0, err
			}
			var text string
			if err := wasmrun.Decode(reply, &text); err != nil {
				return 0, err
			}
			total += len(text)
		}
		return total, nil
	})
}
