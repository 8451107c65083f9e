package wasmrun

import (
	"encoding/binary"
	"errors"
	"math"
	"unicode/utf8"
)

// maxDepth is how deep arrays and maps may nest, in both directions.
const maxDepth = 128

var errMalformed = errors.New("not MessagePack, or nested too deep")

type reader struct {
	data []byte
}

// decodeAll is the one value that data is.
func decodeAll(data []byte) (any, error) {
	in := reader{data}
	value, err := in.value(maxDepth + 1) // the pair around event and context is no level of the event
	if err == nil && len(in.data) != 0 {
		err = errMalformed
	}
	return value, err
}

func (in *reader) take(size uint64) ([]byte, error) {
	if size > uint64(len(in.data)) {
		return nil, errMalformed
	}
	taken := in.data[:size:size]
	in.data = in.data[size:]
	return taken, nil
}

// number is an unsigned number of 1, 2, 4 or 8 bytes.
func (in *reader) number(width uint64) (uint64, error) {
	raw, err := in.take(width)
	if err != nil {
		return 0, err
	}
	switch width {
	case 1:
		return uint64(raw[0]), nil
	case 2:
		return uint64(binary.BigEndian.Uint16(raw)), nil
	case 4:
		return uint64(binary.BigEndian.Uint32(raw)), nil
	}
	return binary.BigEndian.Uint64(raw), nil
}

func (in *reader) value(left int) (any, error) {
	head, err := in.number(1)
	if err != nil {
		return nil, err
	}
	switch {
	case head < 0x80:
		return int64(head), nil
	case head < 0x90:
		return in.dictionary(head&15, left)
	case head < 0xa0:
		return in.array(head&15, left)
	case head < 0xc0:
		return in.text(head & 31)
	case head >= 0xe0:
		return int64(int8(head)), nil
	}
	switch head {
	case 0xc0:
		return nil, nil
	case 0xc2, 0xc3:
		return head == 0xc3, nil
	case 0xca, 0xcb:
		bits, err := in.number(uint64(4) << (head - 0xca))
		if head == 0xca {
			return float64(math.Float32frombits(uint32(bits))), err
		}
		return math.Float64frombits(bits), err
	case 0xcc, 0xcd, 0xce, 0xcf:
		number, err := in.number(1 << (head - 0xcc))
		if number > math.MaxInt64 {
			return number, err
		}
		return int64(number), err
	case 0xd0, 0xd1, 0xd2, 0xd3:
		width := uint64(1) << (head - 0xd0)
		number, err := in.number(width)
		unused := 64 - 8*width
		return int64(number<<unused) >> unused, err
	}
	var kinds = map[uint64]struct {
		width uint64
		read  func(size uint64) (any, error)
	}{
		0xc4: {1, in.binary}, 0xc5: {2, in.binary}, 0xc6: {4, in.binary},
		0xd9: {1, in.text}, 0xda: {2, in.text}, 0xdb: {4, in.text},
		0xdc: {2, func(size uint64) (any, error) { return in.array(size, left) }},
		0xdd: {4, func(size uint64) (any, error) { return in.array(size, left) }},
		0xde: {2, func(size uint64) (any, error) { return in.dictionary(size, left) }},
		0xdf: {4, func(size uint64) (any, error) { return in.dictionary(size, left) }},
	}
	kind, ok := kinds[head]
	if !ok {
		return nil, errMalformed
	}
	size, err := in.number(kind.width)
	if err != nil {
		return nil, err
	}
	return kind.read(size)
}

func (in *reader) binary(size uint64) (any, error) {
	raw, err := in.take(size)
	return raw, err
}

func (in *reader) text(size uint64) (any, error) {
	raw, err := in.take(size)
	if err == nil && !utf8.Valid(raw) {
		err = errMalformed
	}
	return string(raw), err
}

func (in *reader) array(size uint64, left int) (any, error) {
	// Each item takes a byte at least, so what a length promises bounds what is taken for it.
	if left == 0 || size > uint64(len(in.data)) {
		return nil, errMalformed
	}
	items := make([]any, size)
	for at := range items {
		item, err := in.value(left - 1)
		if err != nil {
			return nil, err
		}
		items[at] = item
	}
	return items, nil
}

func (in *reader) dictionary(size uint64, left int) (any, error) {
	if left == 0 || size > uint64(len(in.data))/2 {
		return nil, errMalformed
	}
	items := make(map[string]any, size)
	for range size {
		key, err := in.value(0)
		name, ok := key.(string)
		if err != nil || !ok {
			return nil, errMalformed
		}
		if items[name], err = in.value(left - 1); err != nil {
			return nil, err
		}
	}
	return items, nil
}

func appendString(out []byte, text string) []byte {
	if size := len(text); size > 31 && size < 256 {
		out = append(out, 0xd9, byte(size))
	} else {
		out = appendLength(out, size, 0xa0, 31, 0, 0xda)
	}
	return append(out, text...)
}

func appendBytes(out, data []byte) []byte {
	return append(appendLength(out, len(data), 0, -1, 0xc4, 0xc5), data...)
}

// appendLength writes a head: fixed up to a length of most, else with a length of one byte where there is such a head,
// of two, or of four.
func appendLength(out []byte, size int, fixed byte, most int, one, two byte) []byte {
	switch {
	case size <= most:
		return append(out, fixed|byte(size))
	case one != 0 && size < 1<<8:
		return append(out, one, byte(size))
	case size < 1<<16:
		return binary.BigEndian.AppendUint16(append(out, two), uint16(size))
	}
	return binary.BigEndian.AppendUint32(append(out, two+1), uint32(size))
}

func appendInt(out []byte, number int64) []byte {
	switch {
	case number >= 0:
		return appendUint(out, uint64(number))
	case number >= -32:
		return append(out, byte(number))
	case number >= math.MinInt8:
		return append(out, 0xd0, byte(number))
	case number >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(out, 0xd1), uint16(number))
	case number >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(out, 0xd2), uint32(number))
	}
	return binary.BigEndian.AppendUint64(append(out, 0xd3), uint64(number))
}

func appendUint(out []byte, number uint64) []byte {
	switch {
	case number < 128:
		return append(out, byte(number))
	case number <= math.MaxUint8:
		return append(out, 0xcc, byte(number))
	case number <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(out, 0xcd), uint16(number))
	case number <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(out, 0xce), uint32(number))
	}
	return binary.BigEndian.AppendUint64(append(out, 0xcf), number)
}

func appendFloat(out []byte, number float64) []byte {
	return binary.BigEndian.AppendUint64(append(out, 0xcb), math.Float64bits(number))
}
