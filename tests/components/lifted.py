"""Components as WAT: a core module with a memory and an allocator, lifted as the world's handler."""

from __future__ import annotations

_ALLOCATOR = """
    (memory (export "memory") {memory})
    (global $top (mut i32) (i32.const 65536))
    (func $realloc (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
      (global.set $top (i32.add (local.get $at) (local.get 3)))
      (block $enough (loop $grow
        (br_if $enough (i32.le_u (global.get $top) (i32.shl (memory.size) (i32.const 16))))
        (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
        (br $grow)))
      (local.get $at))"""

HANDLE = """
  (func $handle (param "event" string) (param "context" string) (result (result string (error string)))
    (canon lift (core func $i "handle") (memory (core memory $l "memory")) (realloc (core func $l "realloc")) {more}))
  (export "handle" (func $handle))"""

EVENT, EVENT_BYTES, CONTEXT, CONTEXT_BYTES = (f"(local.get {at})" for at in range(4))
"""What the handler gets."""


def answer(pointer: str | int, length: str | int, *, error: bool = False) -> str:
    """The end of a handler: the text at *pointer* is the answer, or the error."""
    at, size = (value if isinstance(value, str) else f"(i32.const {value})" for value in (pointer, length))
    return (
        f"(i32.store (i32.const 8) (i32.const {int(error)})) (i32.store (i32.const 12) {at}) "
        f"(i32.store (i32.const 16) {size}) (i32.const 8)"
    )


ECHO = answer(EVENT, EVENT_BYTES)


def text(value: str) -> tuple[str, str]:
    """A data segment with *value* in it, at 1024, and the end of a handler that answers it."""
    data = value.encode()
    return f'(data (i32.const 1024) "{quoted(data)}")', answer(1024, len(data))


def quoted(data: bytes) -> str:
    """*data* as it stands in WAT between quotes."""
    return "".join(f"\\{byte:02x}" for byte in data)


def component(
    handle: str = ECHO,
    *,
    functions: str = "",
    imports: str = "",
    lowered: str = "",
    given: str = "",
    memory: str = "2",
    lift: str = "",
    exports: str = "",
    post: str | None = None,
) -> str:
    """A component whose handler is *handle*, beside other *functions* of its module.

    *imports* are the component's, *lowered* makes core functions of them, and *given* hands those to the module,
    which imports them from "h". *exports* come last; *lift* is more for the handler's lifting. *post* gives the
    answer's memory back.
    """
    after = f'(func (export "post") (param i32) {post})' if post is not None else ""
    more = lift + (' (post-return (core func $i "post"))' if post is not None else "")
    return f"""(component
  {imports}
  (core module $libc {_ALLOCATOR.format(memory=memory)})
  (core instance $l (instantiate $libc))
  {lowered}
  (core module $m
    (import "l" "memory" (memory 0))
    (import "l" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
    {functions}
    (func (export "handle") (param i32 i32 i32 i32) (result i32) {handle})
    {after})
  (core instance $i (instantiate $m (with "l" (instance $l)) (with "h" (instance {given}))))
  {HANDLE.format(more=more)}
  {exports})"""
