package wasmrun

import "unsafe"

// What the host was given to write to, until the event is over: the collector must not take it away.
var (
	held     = map[uint32][]byte{}
	answered bool
	given    []byte // the answer, until the host has read it
)

//go:wasmimport wasmrun log
func importLog(level int32, text *byte, size uint32)

//go:wasmexport wasmrun_alloc
func alloc(size uint32) uint32 {
	eventStarts()
	if size > 1<<31 {
		return 0 // Go would end the program instead of saying so
	}
	block := make([]byte, max(size, 1))
	ptr := uint32(uintptr(unsafe.Pointer(unsafe.SliceData(block))))
	held[ptr] = block
	return ptr
}

//go:wasmexport wasmrun_free
func free(ptr, size uint32) {
	answered = true
	eventStarts()
}

//go:wasmexport wasmrun_init
func initialize() {
	for _, start := range starts {
		if err := start(); err != nil {
			Log(Failure, err.Error())
			panic(err)
		}
	}
	answered = true
}

//go:wasmexport wasmrun_handle
func handle(ptr, size uint32) uint64 { return answer(ptr, size, handler) }

// eventStarts lets go of what belonged to the event before, if one was answered.
func eventStarts() {
	if answered {
		answered = false
		given = nil
		clear(held)
	}
}

// taken is the memory at a place that the host wrote to.
func taken(ptr, size uint32) []byte {
	if block, ok := held[ptr]; ok && int(size) <= len(block) {
		return block[:size:size]
	}
	return nil
}

func give(output []byte) uint64 {
	given = output
	answered = true
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(output))))<<32 | uint64(len(output))
}
