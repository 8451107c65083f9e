"""Components of wasi:http/proxy as WAT: a core module that is given what it wants of the interfaces, lowered."""

from __future__ import annotations

VERSION = "0.2.0"

_TYPES = """
    (export "fields" (type $f (sub resource)))
    (export "incoming-request" (type $in (sub resource)))
    (export "response-outparam" (type $place (sub resource)))
    (export "outgoing-request" (type $out (sub resource)))
    (export "outgoing-body" (type $body (sub resource)))
    (alias outer 1 $output-stream (type $o0)) (export "output-stream" (type $o (eq $o0)))
    (type $he (variant (case "invalid-syntax") (case "forbidden") (case "immutable")))
    (export "header-error" (type $header-error (eq $he)))"""

FUNCTIONS = {
    "fields": ("types", "[constructor]fields", "(result (own $f))", "", "(result i32)"),
    "has": (
        "types", "[method]fields.has", '(param "self" (borrow $f)) (param "name" string) (result bool)', "memory",
        "(param i32 i32 i32) (result i32)",
    ),
    "from-list": (
        "types", "[static]fields.from-list",
        '(param "entries" (list (tuple string (list u8)))) (result (result (own $f) (error $header-error)))', "memory",
        "(param i32 i32 i32)",
    ),
    "request": (
        "types", "[constructor]outgoing-request", '(param "headers" (own $f)) (result (own $out))', "",
        "(param i32) (result i32)",
    ),
    "target": (
        "types", "[method]outgoing-request.set-path-with-query",
        '(param "self" (borrow $out)) (param "path-with-query" (option string)) (result (result))', "memory",
        "(param i32 i32 i32 i32) (result i32)",
    ),
    "body": (
        "types", "[method]outgoing-request.body", '(param "self" (borrow $out)) (result (result (own $body)))', "memory",
        "(param i32 i32)",
    ),
    "stream": (
        "types", "[method]outgoing-body.write", '(param "self" (borrow $body)) (result (result (own $o)))', "memory",
        "(param i32 i32)",
    ),
    "zeroes": (
        "streams", "[method]output-stream.write-zeroes",
        '(param "self" (borrow $output-stream)) (param "len" u64) (result (result (error $stream-error)))', "memory",
        "(param i32 i64 i32)",
    ),
    "poll": (
        "poll", "poll", '(param "in" (list (borrow $pollable))) (result (list u32))', "memory realloc",
        "(param i32 i32 i32)",
    ),
    "now-or-later": (
        "poll", "[method]pollable.block", '(param "self" (borrow $pollable))', "", "(param i32)",
    ),
    "append": (
        "types", "[method]fields.append",
        '(param "self" (borrow $f)) (param "name" string) (param "value" (list u8)) (result (result (error $header-error)))',
        "memory", "(param i32 i32 i32 i32 i32 i32)",
    ),
    "get": (
        "types", "[method]fields.get",
        '(param "self" (borrow $f)) (param "name" string) (result (list (list u8)))', "memory realloc",
        "(param i32 i32 i32 i32)",
    ),
    "entries": (
        "types", "[method]fields.entries", '(param "self" (borrow $f)) (result (list (tuple string (list u8))))',
        "memory realloc", "(param i32 i32)",
    ),
    "clone": ("types", "[method]fields.clone", '(param "self" (borrow $f)) (result (own $f))', "", "(param i32) (result i32)"),
    "path": (
        "types", "[method]incoming-request.path-with-query", '(param "self" (borrow $in)) (result (option string))',
        "memory realloc", "(param i32 i32)",
    ),
    "write": (
        "streams", "[method]output-stream.blocking-write-and-flush",
        '(param "self" (borrow $output-stream)) (param "contents" (list u8)) (result (result (error $stream-error)))',
        "memory", "(param i32 i32 i32 i32)",
    ),
    "after": ("clock", "subscribe-duration", '(param "when" u64) (result (own $p))', "", "(param i64) (result i32)"),
}  # fmt: skip
"""By what the module calls it: interface, function, type, what lowering it takes, and the type that it has then."""

_OPTIONS = {"memory": "(memory $m)", "realloc": '(realloc (core func $l "realloc"))'}


def proxy(handle: str, *names: str, functions: str = "", pages: int = 2) -> str:
    """A component that runs *handle* for a request, and answers nothing.

    It may call the functions of these *names*, and *functions* of its own.
    """
    wanted = {name: FUNCTIONS[name] for name in names}

    def exported(interface: str) -> str:
        found = [(name, type_) for where, name, type_, _, _ in wanted.values() if where == interface]
        return "".join(f'(export "{name}" (func {type_.replace("$output-stream", "$s").replace("$pollable", "$q")}))'
                       for name, type_ in found)  # fmt: skip

    lowered = "".join(
        f'(core func ${name} (canon lower (func ${where} "{function}") {" ".join(_OPTIONS[o] for o in options.split())}))'
        for name, (where, function, _, options, _) in wanted.items()
    )
    given = "".join(f'(export "{name}" (func ${name}))' for name in wanted)
    imported = "".join(f'(import "h" "{name}" (func ${name} {type_}))' for name, (*_, type_) in wanted.items())
    return f"""(component
  (import "wasi:io/error@{VERSION}" (instance $errors (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $error))
  (import "wasi:io/poll@{VERSION}" (instance $poll (export "pollable" (type $q (sub resource))) {exported("poll")}))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@{VERSION}" (instance $clock
    (alias outer 1 $pollable (type $p0)) (export "pollable" (type $p (eq $p0))) {exported("clock")}))
  (import "wasi:io/streams@{VERSION}" (instance $streams
    (export "output-stream" (type $s (sub resource)))
    (alias outer 1 $error (type $e0)) (export "error" (type $e (eq $e0)))
    (type $failed (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $failed))) {exported("streams")}))
  (alias export $streams "output-stream" (type $output-stream))
  (import "wasi:http/types@{VERSION}" (instance $types {_TYPES} {exported("types")}))
  (alias export $types "incoming-request" (type $request)) (alias export $types "response-outparam" (type $outparam))
  (core module $libc (memory (export "memory") {pages})
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $l (instantiate $libc))
  (alias core export $l "memory" (core memory $m))
  {lowered}
  (core module $guest
    (import "l" "memory" (memory {pages}))
    {imported} {functions}
    (func (export "handle") (param i32 i32) (local $n i32) (local $at i32) (local $handle i32) {handle}))
  (core instance $i (instantiate $guest (with "l" (instance $l)) (with "h" (instance {given}))))
  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $i "handle")))
  (instance $w (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@{VERSION}" (instance $w)))"""


def times(count: int, body: str) -> str:
    """*body*, so many times; $n counts down."""
    step = "(local.set $n (i32.sub (local.get $n) (i32.const 1)))"
    return f"(local.set $n (i32.const {count})) (loop $on {body} {step} (br_if $on (local.get $n)))"
