"""The C examples do what their first lines say, and report what they can't do."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

import wasmrun

if TYPE_CHECKING:
    from pathlib import Path

Call = Callable[..., Any]


@pytest.fixture
def call(executor: wasmrun.Executor, examples: Path) -> Call:
    """Calls an example by name with an event."""

    def call_example(name: str, event: Any, **settings: Any) -> Any:
        return executor.invoke(wasmrun.Function(examples / f"{name}.wasm", **settings), event)

    return call_example


def event_of(examples: Path, name: str) -> Any:
    return json.loads((examples / "events" / f"{name}.json").read_text(encoding="utf-8"))


def refusal(call: Call, name: str, event: Any) -> tuple[str, str]:
    with pytest.raises(wasmrun.GuestError) as caught:
        call(name, event)
    return caught.value.type, caught.value.message


# ---- words


def counted(text: str, top: int = 5) -> dict[str, Any]:
    """What words.c promises, said in Python."""
    letter = "(?:(?![\u00a0\u00ab\u00bb\u2000-\u206f\u3000-\u3002])[a-zA-Z0-9\u0080-\U0010ffff])"
    words = [
        re.sub("[A-Z]", lambda found: found[0].lower(), word)
        for word in re.findall(f"{letter}+(?:['\u2019]{letter}+)*", text)
    ]
    ranked = sorted(Counter(words).items(), key=lambda item: (-item[1], item[0].encode()))
    return {
        "words": len(words),
        "unique": len(ranked),
        "characters": len(text),
        "lines": text.count("\n") + (not text.endswith("\n") and text != ""),
        "longest": max(words, key=len, default=""),
        "top": [{"word": word, "count": count} for word, count in ranked[:top]],
    }


TEXTS = [
    "",
    "\n\n",
    "one",
    "The cat — the CAT’s\u00a0tail, and «the» rest.\nDon't 'quote' me''",
    "naïve ÜBER über 日本語\u3000日本語 😀",
    " ".join(f"w{i % 1_000}" for i in range(5_000)),
    "x" * 70_000,
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_words_counts_a_text(call: Call, text: str) -> None:
    """In an object or bare, with more words asked for than there are, or none."""
    assert call("words", text) == counted(text)
    for top in (0, 3, 10_000):
        assert call("words", {"text": text, "top": top}) == counted(text, top)


def test_words_counts_its_sample(call: Call, examples: Path) -> None:
    """The event that the README names."""
    event = event_of(examples, "words")
    assert call("words", event) == counted(event["text"])


@pytest.mark.parametrize(
    "event", [None, 1, [], {}, {"text": None}, {"text": b"a"}, {"text": "a", "top": -1}, {"text": "a", "top": "5"}]
)
def test_words_refuses_other_events(call: Call, event: Any) -> None:
    """With a type and a message."""
    type_, message = refusal(call, "words", event)
    assert type_ == "InvalidEvent"
    assert "text" in message or "top" in message


# ---- thumbnail

Pixels = list[list[tuple[int, int, int]]]

PICTURE: Pixels = [[(x * 11 % 256, y * 23 % 256, (x * y) % 256) for x in range(23)] for y in range(17)]


def ppm(pixels: Pixels, *, wide: bool = False, head: bytes = b"P6 %d\n# a comment\n%d %d\n") -> bytes:
    values = [value for row in pixels for pixel in row for value in pixel]
    data = b"".join(struct.pack(">H", value * 257) for value in values) if wide else bytes(values)
    return head % (len(pixels[0]), len(pixels), 65535 if wide else 255) + data


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_file(
    width: int, height: int, depth: int, colour: int, rows: bytes, *more: bytes, level: int = 9, interlaced: int = 0
) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    packed = zlib.compress(rows, level)
    half = len(packed) // 2
    parts = [
        chunk(b"IHDR", head),
        *more,
        chunk(b"IDAT", packed[:half]),
        chunk(b"IDAT", packed[half:]),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def filtered(rows: list[bytes], step: int) -> bytes:
    """Each row by another of PNG's five filters."""
    out = b""
    above = bytes(len(rows[0]))
    for number, row in enumerate(rows):
        kind = number % 5
        line = bytearray()
        for i, value in enumerate(row):
            left, up, corner = (row[i - step], above[i], above[i - step]) if i >= step else (0, above[i], 0)
            guess = left + up - corner
            nearest = min((left, up, corner), key=lambda choice: abs(guess - choice))
            line.append((value - (0, left, up, (left + up) // 2, nearest)[kind]) % 256)
        out += bytes([kind]) + line
        above = row
    return out


def read_png(data: bytes) -> tuple[int, int, Pixels]:
    """The pixels of an RGB PNG without filters, every checksum looked at."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, names = 8, b"", []
    width = height = 0
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert data[at : at + 12 + length] == chunk(name, content)
        names.append(name)
        if name == b"IHDR":
            width, height, *kind = struct.unpack(">IIBBBBB", content)
            assert kind == [8, 2, 0, 0, 0]
        packed += content if name == b"IDAT" else b""
        at += 12 + length
    assert (names[0], names[-1]) == (b"IHDR", b"IEND")
    rows = zlib.decompress(packed)
    stride = 1 + width * 3
    assert len(rows) == stride * height
    assert set(rows[::stride]) == {0}
    return width, height, [pixels_of(rows[y * stride + 1 : (y + 1) * stride]) for y in range(height)]


def read_ppm(data: bytes) -> tuple[int, int, Pixels]:
    found = re.match(rb"P6\n(\d+) (\d+)\n255\n", data)
    assert found
    width, height = int(found[1]), int(found[2])
    body = data[found.end() :]
    assert len(body) == width * height * 3
    return width, height, [pixels_of(body[y * width * 3 : (y + 1) * width * 3]) for y in range(height)]


def pixels_of(row: bytes) -> list[tuple[int, int, int]]:
    return list(zip(row[::3], row[1::3], row[2::3], strict=True))


def averaged(pixels: Pixels, width: int) -> tuple[int, int, Pixels]:
    """The exact average of the area that each new pixel stands for."""
    from_width, from_height = len(pixels[0]), len(pixels)
    width = min(width, from_width)
    height = max(1, (from_height * width + from_width // 2) // from_width)

    def overlap(old: int, new: int, old_count: int, new_count: int) -> int:
        return max(0, min((old + 1) * new_count, (new + 1) * old_count) - max(old * new_count, new * old_count))

    def pixel(left: int, top: int) -> tuple[int, int, int]:
        across = [(x, part) for x in range(from_width) if (part := overlap(x, left, from_width, width))]
        down = [(y, part) for y in range(from_height) if (part := overlap(y, top, from_height, height))]
        area = from_width * from_height
        red, green, blue = (
            (sum(pixels[y][x][i] * w * h for x, w in across for y, h in down) + area // 2) // area for i in range(3)
        )
        return red, green, blue

    return width, height, [[pixel(x, y) for x in range(width)] for y in range(height)]


@pytest.mark.parametrize("width", [1, 2, 7, 22, 23, 64])
@pytest.mark.parametrize("wide", [False, True], ids=["8 bits", "16 bits"])
def test_thumbnail_averages_areas(call: Call, width: int, wide: bool) -> None:
    """To widths that divide and that don't, in both formats; nothing is made larger."""
    for format_, read in (("ppm", read_ppm), ("png", read_png)):
        answer = call(
            "thumbnail",
            {"image": ppm(PICTURE, wide=wide, head=b"P6 # c\n%d %d\n%d\n"), "width": width, "format": format_},
        )
        expected = averaged(PICTURE, width)
        assert (answer["width"], answer["height"], answer["format"]) == (*expected[:2], format_)
        assert read(answer["image"]) == expected


def on_white(value: int, opacity: int) -> int:
    return (value * opacity + 255 * (255 - opacity) + 127) // 255


def colour_cases() -> dict[str, tuple[bytes, Pixels]]:
    """PNGs of every colour type, and the pixels that they mean."""
    width, height = 19, 11
    value = [[(x * 31 + y * 57) % 256 for x in range(width)] for y in range(height)]
    clear = [[(x * 13 + y * 5) % 256 for x in range(width)] for y in range(height)]
    cases: dict[str, tuple[bytes, Pixels]] = {}
    for depth in (1, 2, 4, 8):
        levels = 1 << depth
        rows = []
        for y in range(height):
            bits = "".join(f"{value[y][x] % levels:0{depth}b}" for x in range(width))
            bits += "0" * (-len(bits) % 8)
            rows.append(int(bits, 2).to_bytes(len(bits) // 8, "big"))
        data = filtered(rows, 1)
        grey = [[(((v % levels) * 255 + (levels - 1) // 2) // (levels - 1),) * 3 for v in row] for row in value]
        cases[f"grey {depth}"] = png_file(width, height, depth, 0, data), grey
        key = struct.pack(">H", 1)
        cases[f"grey {depth} with a clear one"] = (
            png_file(width, height, depth, 0, data, chunk(b"tRNS", key)),
            [
                [(255, 255, 255) if v % levels == 1 else pixel for v, pixel in zip(*both, strict=True)]
                for both in zip(value, grey, strict=True)
            ],
        )
        palette = [(i * 3 % 256, i * 5 % 256, i * 7 % 256) for i in range(levels)]
        opacity = [0, 100]
        shown = [tuple(on_white(c, opacity[i] if i < 2 else 255) for c in palette[i]) for i in range(levels)]
        cases[f"palette {depth}"] = (
            png_file(
                width, height, depth, 3, data, chunk(b"PLTE", bytes(sum(palette, ()))), chunk(b"tRNS", bytes(opacity))
            ),
            [[shown[v % levels] for v in row] for row in value],
        )
    for depth in (8, 16):
        size = depth // 8

        def sample(v: int, size: int = size) -> bytes:
            return bytes([v]) * size  # in 16 bits v * 257, the same share of full

        for colour, samples in ((2, 3), (4, 2), (6, 4)):
            rows = []
            expected: Pixels = []
            for y in range(height):
                cells = []
                line = []
                for x in range(width):
                    v, a = value[y][x], clear[y][x]
                    rgb = (v, 255 - v, v // 2) if samples > 2 else (v, v, v)
                    cells.append([*(rgb if samples > 2 else rgb[:1]), *([a] if samples % 2 == 0 else [])])
                    line.append(tuple(on_white(c, a if samples % 2 == 0 else 255) for c in rgb))
                rows.append(b"".join(sample(v) for cell in cells for v in cell))
                expected.append(line)
            for level in (0, 1, 9):
                data = filtered(rows, samples * size)
                cases[f"colour {colour}, {depth} bits, level {level}"] = (
                    png_file(width, height, depth, colour, data, level=level),
                    expected,
                )
    return cases


CASES = colour_cases()


@pytest.mark.parametrize("name", CASES)
def test_thumbnail_reads_every_colour_of_png(call: Call, name: str) -> None:
    """Every depth, filter and way of packing; what is transparent lies on white."""
    image, pixels = CASES[name]
    answer = call("thumbnail", {"image": image, "width": 64})
    assert answer["format"] == "png"
    assert read_png(answer["image"])[2] == pixels


def test_thumbnail_takes_base64_where_events_are_json(call: Call, examples: Path) -> None:
    """The event that the README names, and its bytes."""
    event = event_of(examples, "thumbnail")
    answer = call("thumbnail", event)
    image = base64.b64decode(event["image"])
    assert call("thumbnail", {**event, "image": image}) == answer
    assert read_png(answer["image"]) == averaged(read_ppm(image)[2], event["width"])


def test_thumbnail_raw_gives_a_png(call: Call) -> None:
    """64 pixels wide, from the bytes of an image; what is no image traps."""
    wide = [row * 5 for row in PICTURE]
    image = call("thumbnail", ppm(wide, head=b"P6\n%d %d\n%d\n"), entry="thumbnail_raw")
    assert read_png(image) == averaged(wide, 64)
    with pytest.raises(wasmrun.GuestTrap):
        call("thumbnail", b"GIF89a", entry="thumbnail_raw")


GOOD_PNG = CASES["colour 2, 8 bits, level 9"][0]


def changed(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


HOSTILE = {
    "nothing": b"",
    "another format": b"GIF89a",
    "only the letters": b"P6",
    "no height": b"P6 3",
    "no space before the pixels": b"P6 1 1 255",
    "no pixels": b"P6 0 5 255\n",
    "too wide": b"P6 16385 1 255\n" + bytes(100),
    "too many": b"P6 16384 16384 255\n" + bytes(100),
    "a product past 32 bits": b"P6 65536 65537 255\n" + bytes(100),
    "a number past 64 bits": b"P6 18446744073709551617 1 255\n" + bytes(100),
    "truncated": b"P6 100 100 255\n" + bytes(29_999),
    "truncated, 16 bits": b"P6 10 10 256\n" + bytes(599),
    "no maximum": b"P6 1 1 0\n" + bytes(3),
    "maximum past 16 bits": b"P6 1 1 65536\n" + bytes(6),
    "a comment without an end": b"P6 #" + b"x" * 100,
    "a PNG's first bytes": GOOD_PNG[:8],
    "a PNG cut short": GOOD_PNG[:-20],
    "a PNG with a flipped bit": changed(GOOD_PNG, 60, bytes([GOOD_PNG[60] ^ 1])),
    "a PNG with a chunk past the end": changed(GOOD_PNG, 33, b"\xff\xff\xff\xff"),
    "an interlaced PNG": png_file(1, 1, 8, 0, b"\0\0", interlaced=1),
    "a PNG of 2**31 pixels": png_file(2**31 - 1, 1, 8, 0, b"\0\0"),
    "a PNG without rows": png_file(1, 0, 8, 0, b""),
    "a PNG of a depth that is not": png_file(1, 1, 3, 0, b"\0\0"),
    "a PNG with too little data": png_file(4, 4, 8, 0, b"\0\0\0\0\0"),
    "a PNG with too much data": png_file(1, 1, 8, 0, b"\0\0\0"),
    "a small PNG that claims 16 million pixels": png_file(4096, 4096, 8, 2, b"\0"),
    "a PNG with a filter that is not": png_file(1, 1, 8, 0, b"\5\0"),
    "a PNG without its palette": png_file(1, 1, 8, 3, b"\0\0"),
    "a PNG with a palette too long": png_file(1, 1, 8, 3, b"\0\0", chunk(b"PLTE", bytes(771))),
    "a PNG with an unknown chunk": png_file(1, 1, 8, 0, b"\0\0", chunk(b"ABCD", b"")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_thumbnail_refuses_hostile_images(call: Call, name: str) -> None:
    """Headers that overflow, data that ends early or never: a report, not a trap."""
    assert refusal(call, "thumbnail", {"image": HOSTILE[name]})[0] == "InvalidImage"


@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        {"image": 1},
        {"image": "not base64!"},
        {"image": b"P6", "width": 0},
        {"image": b"P6", "width": 4097},
        {"image": b"P6", "width": "64"},
        {"image": b"P6", "width": 2**63},
        {"image": b"P6", "format": "gif"},
        {"image": b"P6", "format": None},
    ],
    ids=repr,
)
def test_thumbnail_refuses_other_events(call: Call, event: Any) -> None:
    """Before it looks at the image."""
    assert refusal(call, "thumbnail", event)[0] == "InvalidEvent"


def test_thumbnail_reports_memory_that_is_missing(call: Call) -> None:
    """A picture that is in order, and larger than the sandbox."""
    black = png_file(2_000, 2_000, 8, 2, bytes(6_001 * 2_000))
    with pytest.raises(wasmrun.OutOfMemory):
        call("thumbnail", {"image": black}, memory="4MiB")
    assert call("thumbnail", {"image": black}, memory="16MiB")["height"] == 64


# ---- proxy


def request(method: str, path: str, **more: Any) -> dict[str, Any]:
    return {
        "version": "2.0",
        "rawPath": path,
        "requestContext": {"http": {"method": method, "path": path}},
        "headers": {"a": "1"},
        **more,
    }


def test_proxy_greets_and_escapes(call: Call) -> None:
    """Name and path are HTML-escaped wherever they stand."""
    page = call("proxy", request("GET", "/", queryStringParameters={"name": "<i>\"Ada\" & 'Bob'</i>"}))
    assert page["statusCode"] == 200
    assert page["headers"]["content-type"] == "text/html; charset=utf-8"
    assert "Hello, &lt;i&gt;&quot;Ada&quot; &amp; &#39;Bob&#39;&lt;/i&gt;!" in page["body"]
    assert page["cookies"] == ["seen=1; Path=/; HttpOnly; Secure; SameSite=Lax"]
    assert "Hello, world!" in call("proxy", request("GET", "/"))["body"]


def test_proxy_answers_its_samples(call: Call, examples: Path) -> None:
    """Events as a function URL makes them; a visitor with the cookie is known."""
    assert "Hello again, Ada &lt;Lovelace&gt;!" in call("proxy", event_of(examples, "proxy"))["body"]
    assert json.loads(call("proxy", event_of(examples, "proxy_sum"))["body"]) == {"sum": 6.5}


def test_proxy_echoes_the_request(call: Call) -> None:
    """As JSON, whatever the characters."""
    query = {"a": 'x"\\\n\x7f\x01', "ü": "日本"}
    page = call("proxy", request("GET", "/api/echo", queryStringParameters=query))
    assert page["headers"] == {"content-type": "application/json"}
    assert json.loads(page["body"]) == {
        "method": "GET",
        "path": "/api/echo",
        "queryStringParameters": query,
        "headers": 1,
    }
    assert json.loads(call("proxy", request("GET", "/api/echo"))["body"])["queryStringParameters"] == {}


@pytest.mark.parametrize(
    "numbers",
    [
        "",
        "1, 2, 3",
        "0.1, 0.2",
        "-0.5",
        "5, -0.5",
        "-5, 0.5, 0.5",
        "123456789012345678, -1.000000001",
        "0.000000001",
        "-0, 0.0",
    ],
)
def test_proxy_sums_exactly(call: Call, numbers: str) -> None:
    """Decimals stay decimals."""
    page = call(
        "proxy", request("POST", "/api/sum", body=f'{{"x": [null, {{"y": "\\u00e9"}}], "numbers": [{numbers}] }}')
    )
    assert page["statusCode"] == 200
    expected = sum(Decimal(number) for number in numbers.split(",") if number)
    assert json.loads(page["body"], parse_float=Decimal) == {"sum": expected}


BAD_BODIES = [
    *(
        "",
        "{}",
        "[1]",
        "nonsense",
        '{"numbers": 1}',
        '{"numbers": [1,]}',
        '{"numbers": ["1"]}',
        '{"numbers": [01]}',
        '{"numbers": [1]} x',
    ),
    *(
        '{"numbers": [1}',
        '{"numbers": [+1]}',
        '{"numbers": [.5]}',
        '{"numbers": [1.]}',
        '{"numbers": [1',
        '{"numbers": [NaN]}',
    ),
    *(
        '{"numbers": [9223372036854775807, 1]}',
        '{"numbers": [0.0000000001]}',
        '{"numbers": [1e400]}',
        '{"a": "\\x", "numbers": []}',
    ),
    '{"a": ' + "[" * 10_000,
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_proxy_answers_400_to_bad_json(call: Call, body: str) -> None:
    """And says what is wrong, as JSON."""
    page = call("proxy", request("POST", "/api/sum", body=body))
    assert page["statusCode"] == 400
    assert json.loads(page["body"])["error"]


def test_proxy_reads_bodies_in_base64(call: Call) -> None:
    """Where the event says so; what is not base64 is the event's fault."""
    body = base64.b64encode(b'{"numbers": [1.25, 1]}').decode()
    assert json.loads(call("proxy", request("POST", "/api/sum", body=body, isBase64Encoded=True))["body"]) == {
        "sum": 2.25
    }
    assert refusal(call, "proxy", request("POST", "/api/sum", body="{}", isBase64Encoded=True))[0] == "InvalidEvent"


@pytest.mark.parametrize(("path", "allowed"), [("/", "GET"), ("/api/echo", "GET"), ("/api/sum", "POST")])
def test_proxy_answers_405_with_the_method_that_is_allowed(call: Call, path: str, allowed: str) -> None:
    """A path that is there, a method that is not."""
    page = call("proxy", request("DELETE", path))
    assert (page["statusCode"], page["headers"]["allow"]) == (405, allowed)


@pytest.mark.parametrize("path", ["/api", "/api/sum/", "//", "/etc/passwd", ""])
def test_proxy_answers_404_elsewhere(call: Call, path: str) -> None:
    """Paths match as a whole."""
    assert call("proxy", request("GET", path))["statusCode"] == 404


@pytest.mark.parametrize(
    "event", [None, [], {}, {"rawPath": "/"}, {"rawPath": 1, "requestContext": {"http": {"method": "GET"}}}], ids=repr
)
def test_proxy_refuses_other_events(call: Call, event: Any) -> None:
    """An event that is no HTTP request is not the client's fault, so it is no 400."""
    assert refusal(call, "proxy", event)[0] == "InvalidEvent"


# ---- echo


def test_echo_gives_back_events_and_bytes(call: Call, examples: Path) -> None:
    """By the entry with the envelope, and by the raw one."""
    event = event_of(examples, "echo")
    assert call("echo", event) == event
    for data in (b"", b"x" * 64, bytes(1_000_000)):
        assert call("echo", data, entry="wasmrun_handle_raw") == data
