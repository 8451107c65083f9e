"""Guests of WASI preview 2: what a component imports of it, lowered, for modules that import it from "h"."""

from __future__ import annotations

from lifted import component

_IMPORTS = """
  (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $error))
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))
    (export "[method]pollable.ready" (func (param "self" (borrow $p)) (result bool)))
    (export "poll" (func (param "in" (list (borrow $p))) (result (list u32))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "output-stream" (type $out (sub resource)))
    (export "input-stream" (type $in (sub resource)))
    (alias outer 1 $error (type $e0)) (export "error" (type $e (eq $e0)))
    (alias outer 1 $pollable (type $p0)) (export "pollable" (type $p (eq $p0)))
    (type $failed (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $failed)))
    (export "[method]output-stream.check-write" (func (param "self" (borrow $out)) (result (result u64 (error $stream-error)))))
    (export "[method]output-stream.write"
      (func (param "self" (borrow $out)) (param "contents" (list u8)) (result (result (error $stream-error)))))
    (export "[method]output-stream.blocking-write-and-flush"
      (func (param "self" (borrow $out)) (param "contents" (list u8)) (result (result (error $stream-error)))))
    (export "[method]output-stream.subscribe" (func (param "self" (borrow $out)) (result (own $p))))
    (export "[method]input-stream.blocking-read"
      (func (param "self" (borrow $in)) (param "len" u64) (result (result (list u8) (error $stream-error)))))))
  (alias export $streams "output-stream" (type $output-stream))
  (alias export $streams "input-stream" (type $input-stream))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output-stream (type $o0)) (export "output-stream" (type $o (eq $o0)))
    (export "get-stdout" (func (result (own $o))))))
  (import "wasi:cli/stdin@0.2.0" (instance $stdin
    (alias outer 1 $input-stream (type $i0)) (export "input-stream" (type $i (eq $i0)))
    (export "get-stdin" (func (result (own $i))))))
  (import "wasi:cli/exit@0.2.0" (instance $exit (export "exit" (func (param "status" (result))))))
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-environment" (func (result (list (tuple string string)))))
    (export "get-arguments" (func (result (list string))))))
  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $p0)) (export "pollable" (type $p (eq $p0)))
    (export "now" (func (result u64)))
    (export "subscribe-instant" (func (param "when" u64) (result (own $p))))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
  (import "wasi:sockets/network@0.2.0" (instance $network
    (export "network" (type (sub resource)))
    (type $codes (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit" "address-not-bindable"
      "address-in-use" "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted"
      "datagram-too-large" "name-unresolvable" "temporary-resolver-failure" "permanent-resolver-failure"))
    (export "error-code" (type (eq $codes)))
    (type $family (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type (eq $family)))))
  (alias export $network "error-code" (type $error-code))
  (alias export $network "ip-address-family" (type $family))
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp (export "tcp-socket" (type (sub resource)))))
  (alias export $tcp "tcp-socket" (type $tcp-socket))
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
    (alias outer 1 $error-code (type $c0)) (export "error-code" (type $c (eq $c0)))
    (alias outer 1 $family (type $f0)) (export "ip-address-family" (type $f (eq $f0)))
    (alias outer 1 $tcp-socket (type $t0)) (export "tcp-socket" (type $t (eq $t0)))
    (export "create-tcp-socket" (func (param "address-family" $f) (result (result (own $t) (error $c)))))))
"""

_LOWERED = {
    "block": ("poll", "[method]pollable.block", ""),
    "ready": ("poll", "[method]pollable.ready", ""),
    "poll": ("poll", "poll", "memory realloc"),
    "check": ("streams", "[method]output-stream.check-write", "memory"),
    "write": ("streams", "[method]output-stream.write", "memory"),
    "print": ("streams", "[method]output-stream.blocking-write-and-flush", "memory"),
    "writable": ("streams", "[method]output-stream.subscribe", ""),
    "read": ("streams", "[method]input-stream.blocking-read", "memory realloc"),
    "stdout": ("stdout", "get-stdout", ""),
    "stdin": ("stdin", "get-stdin", ""),
    "exit": ("exit", "exit", ""),
    "environment": ("environment", "get-environment", "memory realloc"),
    "arguments": ("environment", "get-arguments", "memory realloc"),
    "random": ("random", "get-random-bytes", "memory realloc"),
    "now": ("clock", "now", ""),
    "until": ("clock", "subscribe-instant", ""),
    "after": ("clock", "subscribe-duration", ""),
    "socket": ("create", "create-tcp-socket", "memory"),
}
_OPTIONS = {"memory": '(memory (core memory $l "memory"))', "realloc": '(realloc (core func $l "realloc"))'}

FUNCTIONS = """
    (import "h" "block" (func $block (param i32)))
    (import "h" "ready" (func $ready (param i32) (result i32)))
    (import "h" "poll" (func $poll (param i32 i32 i32)))
    (import "h" "check" (func $check (param i32 i32)))
    (import "h" "write" (func $write (param i32 i32 i32 i32)))
    (import "h" "print" (func $print (param i32 i32 i32 i32)))
    (import "h" "writable" (func $writable (param i32) (result i32)))
    (import "h" "read" (func $read (param i32 i64 i32)))
    (import "h" "stdout" (func $stdout (result i32)))
    (import "h" "stdin" (func $stdin (result i32)))
    (import "h" "exit" (func $exit (param i32)))
    (import "h" "environment" (func $environment (param i32)))
    (import "h" "arguments" (func $arguments (param i32)))
    (import "h" "random" (func $random (param i64 i32)))
    (import "h" "now" (func $now (result i64)))
    (import "h" "until" (func $until (param i64) (result i32)))
    (import "h" "after" (func $after (param i64) (result i32)))
    (import "h" "socket" (func $socket (param i32 i32)))
    (import "h" "drop-pollable" (func $drop-pollable (param i32)))
    (import "h" "drop-output" (func $drop-output (param i32)))"""


def wasi_component(handle: str, *, functions: str = "", memory: str = "2") -> str:
    """A component whose module may call the functions above."""
    lowered, given = [], []
    for name, (instance, function, options) in _LOWERED.items():
        more = " ".join(_OPTIONS[option] for option in options.split())
        lowered.append(
            f'(alias export ${instance} "{function}" (func ${name}-of-wasi)) '
            f"(core func ${name} (canon lower (func ${name}-of-wasi) {more}))"
        )
        given.append(f'(export "{name}" (func ${name}))')
    for name, type_ in (("drop-pollable", "pollable"), ("drop-output", "output-stream")):
        lowered.append(f"(core func ${name} (canon resource.drop ${type_}))")
        given.append(f'(export "{name}" (func ${name}))')
    return component(
        handle,
        functions=FUNCTIONS + functions,
        imports=_IMPORTS,
        lowered="\n  ".join(lowered),
        given=" ".join(given),
        memory=memory,
    )
