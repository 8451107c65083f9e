"""What a snapshot keeps of a start-up: every kind of state, to the bit, and nothing that has run already."""

from __future__ import annotations

from typing import Any

import pytest
import snapshots

from wasmrun.machine.snapshot import contents, image, sections

EVERYTHING = """(module
  (memory (export "memory") 1 9)
  (global $count (mut i32) (i32.const 0))
  (global $long (mut i64) (i64.const 0))
  (global $float (mut f32) (f32.const 0))
  (global $double (mut f64) (f64.const 0))
  (global $vector (mut v128) (v128.const i64x2 0 0))
  (global $picked (mut funcref) (ref.null func))
  (global $nothing (mut externref) (ref.null extern))
  (global $fixed funcref (ref.func $forty_one))
  (table $table 2 10 funcref)
  (type $number (func (result i32)))
  (elem (table $table) (i32.const 0) func $forty_one)
  (elem $kept func $forty_two $forty_one)
  (elem $used func $forty_three)
  (elem declare func $hidden)
  (data (i32.const 8) "active")
  (data $later "later")
  (data $once "once")
  (func $forty_one (result i32) (i32.const 41))
  (func $forty_two (result i32) (i32.const 42))
  (func $forty_three (result i32) (i32.const 43))
  (func $hidden (result i32) (i32.const 44))
  (func $start (i32.store8 (i32.const 7) (i32.const 0x21)))
  (start $start)
  (func $initialize (export "_initialize")
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (global.set $long (i64.const -2))
    (global.set $float (f32.const -nan:0x123456))
    (global.set $double (f64.const nan:0x4000000000001))
    (global.set $vector (v128.const i32x4 1 -2 3 -4))
    (global.set $picked (ref.func $forty_two))
    (drop (memory.grow (i32.const 2)))
    (drop (table.grow $table (ref.func $hidden) (i32.const 3)))
    (table.init $table $used (i32.const 1) (i32.const 0) (i32.const 1))
    (elem.drop $used)
    (memory.init $once (i32.const 150000) (i32.const 0) (i32.const 4))
    (data.drop $once)
    (i64.store (i32.const 196600) (i64.const -1)))
  (func (export "count") (result i32) (global.get $count))
  (func (export "floats") (result f32 f64 v128)
    (global.get $float) (global.get $double) (global.get $vector))
  (func (export "sizes") (result i32 i32) (memory.size) (table.size $table))
  (func (export "at") (param i32) (result i32) (call_indirect (type $number) (local.get 0)))
  (func (export "picked") (result i32)
    (table.set $table (i32.const 0) (global.get $picked)) (call_indirect (type $number) (i32.const 0)))
  (func (export "is_null") (result i32) (ref.is_null (global.get $nothing)))
  (func (export "declared") (result i32)
    (table.set $table (i32.const 0) (ref.func $initialize)) (i32.const 1))
  (func (export "later") (result i64)
    (memory.init $later (i32.const 40) (i32.const 0) (i32.const 5)) (i64.load (i32.const 40)))
  (func (export "once") (memory.init $once (i32.const 40) (i32.const 0) (i32.const 1)))
  (func (export "kept") (result i32)
    (table.init $table $kept (i32.const 0) (i32.const 0) (i32.const 2)) (call_indirect (type $number) (i32.const 0)))
  (func (export "used") (table.init $table $used (i32.const 0) (i32.const 0) (i32.const 1)))
  (func (export "nothing_of_used") (table.init $table $used (i32.const 0) (i32.const 0) (i32.const 0)))
  (func (export "byte") (param i32) (result i32) (i32.load8_u (local.get 0))))"""
SETTINGS: dict[str, Any] = {"abi": "plain", "entry": "count"}

CALLS = [
    ("count",), ("floats",), ("sizes",), *[("at", at) for at in range(6)], ("picked",), ("is_null",), ("declared",),
    ("later",), ("once",), ("kept",), ("used",), ("nothing_of_used",),
    *[("byte", at) for at in (7, 8, 13, 14, 149_999, 150_000, 150_003, 150_004, 196_600, 196_607, 196_608)],
]  # fmt: skip


def test_snapshot_answers_what_the_started_module_answers() -> None:
    """Globals of every type, tables, memory, and segments that were and were not used; traps, too."""
    module = snapshots.binary(EVERYTHING)
    taken = snapshots.snapshot(module, **SETTINGS).module
    with snapshots.machines(module, taken, **SETTINGS) as (started, restored):
        for name, *given in CALLS:
            numbers = [number.to_bytes(16, "little") for number in given]
            answer = started.call(name, *numbers)
            assert restored.call(name, *numbers) == answer, (name, given)
        assert started.state()[:4] == restored.state()[:4]


def test_snapshot_of_a_snapshot_is_the_same() -> None:
    """There is nothing left to run."""
    taken = snapshots.snapshot(EVERYTHING, **SETTINGS).module
    again = contents.read(snapshots.snapshot(taken, **SETTINGS).module)
    first = contents.read(taken)
    assert again[4:8] == first[4:8]  # tables, memories, globals, exports


def test_snapshot_leaves_out_what_has_run() -> None:
    """Start section and `_initialize`; the rest of the exports keeps its order."""
    taken = contents.read(snapshots.snapshot(EVERYTHING, **SETTINGS).module)
    before = contents.read(snapshots.binary(EVERYTHING))
    assert [item.name for item in taken.exports] == [
        item.name for item in before.exports if item.name != b"_initialize"
    ]
    assert not sections.body_of(taken.sections, sections.START)


def test_snapshot_keeps_maxima_and_what_is_custom() -> None:
    """Sizes are those at the end of the start-up; names of functions stay."""
    module = snapshots.binary(EVERYTHING)
    taken = contents.read(snapshots.snapshot(module, **SETTINGS).module)
    assert taken.memories == (contents.Limits(3, 9),)
    assert taken.tables[0].limits == contents.Limits(5, 10)
    names = [section.body for section in contents.read(module).sections if section.number == 0]
    assert [section.body for section in taken.sections if section.number == 0] == names


def test_snapshot_runs_the_start_ups_in_their_order() -> None:
    """Start function, `_initialize`, `wasmrun_init`; each once."""
    module = """(module
      (memory (export "memory") 1)
      (global $n (mut i32) (i32.const 0))
      (func $step (param i32) (global.set $n (i32.add (i32.mul (global.get $n) (i32.const 10)) (local.get 0))))
      (func $start (call $step (i32.const 1))) (start $start)
      (func (export "wasmrun_init") (call $step (i32.const 3)))
      (func (export "_initialize") (call $step (i32.const 2)))
      (func (export "wasmrun_alloc") (param i32) (result i32) (i32.const 0))
      (func (export "wasmrun_handle_raw") (param i32 i32) (result i64) (i64.const 0)))"""
    taken = contents.read(snapshots.snapshot(module).module)
    assert taken.globals[0].value == b"\x41\xfb\x00\x0b"  # 123
    assert {item.name for item in taken.exports} == {b"memory", b"wasmrun_alloc", b"wasmrun_handle_raw"}


def test_snapshot_resumes_where_it_would_have_started() -> None:
    """Under both names, so that a snapshot of it resumes, too."""
    native = """(module (memory (export "memory") 1)
      (func (export "wasmrun_init")) (func $resume (export "wasmrun_resume"))
      (func (export "wasmrun_alloc") (param i32) (result i32) (i32.const 0))
      (func (export "wasmrun_handle_raw") (param i32 i32) (result i64) (i64.const 0)))"""
    plain = '(module (func (export "_initialize")) (func (export "wasmrun_resume")) (func (export "run")))'
    for module, name in ((native, b"wasmrun_init"), (plain, b"_initialize")):
        for taken in (snapshots.snapshot(module), snapshots.snapshot(snapshots.snapshot(module).module)):
            numbers = {item.name: item.number for item in contents.read(taken.module).exports}
            assert numbers[name] == numbers[b"wasmrun_resume"] == 1


def test_snapshot_of_a_module_without_anything() -> None:
    """No memory, no table, no global, no start-up."""
    module = snapshots.binary('(module (func (export "run") (result i32) (i32.const 7)))')
    assert snapshots.snapshot(module).module == module


def test_snapshot_sees_a_memory_that_is_not_exported() -> None:
    """And tables and globals, which nobody exports."""
    module = """(module (memory 1) (table 1 funcref) (elem declare func $f)
      (func $f (result i32) (i32.load (i32.const 4)))
      (func (export "_initialize") (i32.store (i32.const 4) (i32.const 99)) (table.set (i32.const 0) (ref.func $f)))
      (func (export "run") (result i32) (call_indirect (result i32) (i32.const 0))))"""
    binary = snapshots.binary(module)
    with snapshots.machines(binary, snapshots.snapshot(binary).module) as (started, restored):
        assert started.call("run") == restored.call("run") == (99).to_bytes(4, "little")


def test_snapshot_does_not_confuse_its_exports_with_the_module_s() -> None:
    """A module may call its exports what it likes."""
    module = """(module (memory (export "state_m0") 1) (global (mut i32) (i32.const 1)) (global (export "stateg0") i32 (i32.const 5))
      (func (export "_initialize") (global.set 0 (i32.const 2)) (i32.store8 (i32.const 0) (i32.const 1)))
      (func (export "run") (result i32) (i32.add (global.get 0) (i32.load8_u (i32.const 0)))))"""
    binary = snapshots.binary(module)
    with snapshots.machines(binary, snapshots.snapshot(binary).module) as (started, restored):
        assert started.call("run") == restored.call("run") == (3).to_bytes(4, "little")


def test_snapshot_keeps_imported_functions_in_tables() -> None:
    """They are counted first, and nothing else moves."""
    module = """(module (import "wasmrun" "log" (func $log (param i32 i32 i32)))
      (memory (export "memory") 1) (table 2 funcref) (elem declare func $log $own)
      (func $own (param i32 i32 i32))
      (func (export "_initialize") (table.set (i32.const 1) (ref.func $log)) (table.set (i32.const 0) (ref.func $own))
        (call $log (i32.const 2) (i32.const 0) (i32.const 5)))
      (data (i32.const 0) "ready")
      (func (export "run") (call_indirect (param i32 i32 i32) (i32.const 2) (i32.const 0) (i32.const 5) (i32.const 1))))"""
    taken = snapshots.snapshot(module)
    assert taken.logs == [("info", "ready")]
    assert b"\x02\x01\x00" in sections.body_of(contents.read(taken.module).sections, sections.ELEMENT)


def test_start_up_sees_arguments_variables_and_directories(tmp_path: Any) -> None:
    """As that of a sandbox does; and what it prints is logged."""
    wasi = "wasi_snapshot_preview1"
    module = f"""(module
      (import "{wasi}" "args_get" (func $args (param i32 i32) (result i32)))
      (import "{wasi}" "environ_get" (func $environ (param i32 i32) (result i32)))
      (import "{wasi}" "fd_prestat_dir_name" (func $name (param i32 i32 i32) (result i32)))
      (import "{wasi}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 600) "hello") (data (i32.const 700) "\\58\\02\\00\\00\\05\\00\\00\\00")
      (func (export "_initialize")
        (drop (call $args (i32.const 0) (i32.const 100)))
        (drop (call $environ (i32.const 0) (i32.const 200)))
        (drop (call $name (i32.const 3) (i32.const 300) (i32.const 4)))
        (drop (call $write (i32.const 1) (i32.const 700) (i32.const 1) (i32.const 800))))
      (func (export "run")))"""
    taken = snapshots.snapshot(module, args=("one",), env={"A": "b"}, dirs=[f"{tmp_path}::/dir"])
    assert all(text in taken.module for text in (b"guest\0one\0", b"A=b\0", b"/dir"))
    assert [message for _, message in taken.logs] == ["hello"]


# The image of a memory


def test_image_leaves_out_what_is_zero() -> None:
    """Except where it is too little to be worth a segment."""
    memory = bytearray(1 << 18)
    memory[5] = 1
    memory[20:30] = b"0123456789"
    memory[70_000:140_000] = b"x" * 70_000
    memory[-1] = 9
    found = image.segments(memoryview(memory), 1 << 20)
    assert len(found) == 3
    again = bytearray(len(memory))
    for at, data in found:
        again[at : at + len(data)] = data
    assert again == memory
    assert sum(len(data) for _, data in found) < 70_200


def test_image_bounds_the_number_of_segments() -> None:
    """Islands in a sea of zeros grow together."""
    memory = bytearray(1 << 23)
    memory[::100] = b"x" * len(memory[::100])
    found = image.segments(memoryview(memory), 1 << 24)
    assert len(found) <= 10_000
    assert sum(len(data) for _, data in found) <= len(memory)


def test_image_is_bounded() -> None:
    """A memory may be full."""
    with pytest.raises(ValueError, match="more after the start-up than a module may have"):
        image.segments(memoryview(b"x" * 200_000), 100_000)
    with pytest.raises(ValueError, match="more after the start-up"):
        image.segments(memoryview(b"x".ljust(200, b"\0") * 20_000), 3_000_000)
