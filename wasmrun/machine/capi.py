"""The binding: the part of wasmtime's C API that wasmrun uses, and nothing else.

The shared library is the one inside the ``wasmtime`` wheel. It is found without importing the
wheel's Python package, whose import declares 760 prototypes and takes longer than a cold start here.

Two handles on the same library, by what a call may do:

* `quick` (`ctypes.PyDLL`) keeps the GIL. For calls that take about a microsecond and run no guest
  code, giving the GIL up costs more than the call, and invites a switch to another thread.
* `slow` (`ctypes.CDLL`) gives the GIL up. For everything that may run guest code or take long.

Addresses are plain integers: a ``c_void_p`` prototype that is passed an ``int`` is twice as fast as
one with ``POINTER`` types. So every caller keeps the memory behind its addresses alive itself.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import c_bool, c_char_p, c_int64, c_size_t, c_ssize_t, c_uint8, c_uint32, c_uint64, c_void_p

from wasmrun.errors import HostError
from wasmrun.hints import Any

SUPPORTED_MAJOR = 50
"""The one major version of ``wasmtime`` whose prototypes and struct layouts are written down here."""

_INSTALL = f"run: pip install 'wasmtime=={SUPPORTED_MAJOR}.*'"
_P = c_void_p
# Numbers on the hot path go as c_void_p, too: an argument of any other integer type takes twice as
# long to convert, and in a register a number is a number.
_U = c_void_p
_N = c_size_t


def find_library() -> str:
    """The path of the shared library in the installed ``wasmtime`` wheel.

    Raises `HostError` that names the remedy when there is none, or one of another version.
    """
    # Asked as an import asks them: importlib.util would do the same once it is loaded.
    specs = (finder.find_spec("wasmtime", None) for finder in sys.meta_path)
    spec = next((spec for spec in specs if spec is not None), None)
    if spec is None or not spec.submodule_search_locations:
        raise HostError(f"the wasmtime package is not installed; {_INSTALL}")
    if sys.platform != "linux":
        raise HostError(f"wasmrun needs Linux: its deadlines use POSIX timers, which {sys.platform} does not have")
    package = spec.submodule_search_locations[0]
    check_version(os.path.dirname(package))
    path = os.path.join(package, f"linux-{os.uname().machine}", "_libwasmtime.so")
    if not os.path.exists(path):
        raise HostError(f"the wasmtime package has no library for this machine: {path} does not exist")
    return path


def check_version(site: str) -> None:
    """Raise `HostError` unless the wheel installed in the directory *site* is of the supported major version."""
    # The name of the metadata directory carries the version. Importing importlib.metadata to learn
    # the same would cost 40 ms at every start.
    names = [name for name in os.listdir(site) if name.startswith("wasmtime-") and name.endswith(".dist-info")]
    versions = [name[len("wasmtime-") : -len(".dist-info")] for name in names]
    if versions and not any(version.split(".")[0] == str(SUPPORTED_MAJOR) for version in versions):
        raise HostError(f"wasmtime {versions[0]} is installed, but wasmrun works with {SUPPORTED_MAJOR}.x; {_INSTALL}")


LIBRARY_PATH = find_library()
quick = ctypes.PyDLL(LIBRARY_PATH)
slow = ctypes.CDLL(LIBRARY_PATH)


class ByteVec(ctypes.Structure):
    """``wasm_byte_vec_t``, also the layout of every other ``wasm_*_vec_t``."""

    _fields_ = (("size", c_size_t), ("data", c_void_p))


class Func(ctypes.Structure):
    """``wasmtime_func_t``."""

    _fields_ = (("store_id", c_uint64), ("private", c_void_p))


class Memory(ctypes.Structure):
    """``wasmtime_memory_t``."""

    _fields_ = (("store_id", c_uint64), ("private1", c_uint32), ("private2", c_uint32), ("private3", c_uint32))


class _ExternUnion(ctypes.Union):
    _fields_ = (("func", Func), ("memory", Memory))


class Extern(ctypes.Structure):
    """``wasmtime_extern_t``: the kind in the first byte, the value 8 bytes in."""

    _fields_ = (("kind", c_uint8), ("of", _ExternUnion))


class _V128(ctypes.Structure):
    _fields_ = (("bytes", c_uint8 * 16),)


class ValRaw(ctypes.Union):
    """``wasmtime_val_raw_t``: one WebAssembly value without its type."""

    _fields_ = (("i64", c_int64), ("v128", _V128))


class Limits(ctypes.Structure):
    """``wasm_limits_t``."""

    _fields_ = (("min", c_uint32), ("max", c_uint32))


_LAYOUT = ((Func, 16), (Memory, 24), (Extern, 32), (ValRaw, 16), (ByteVec, 16))


def check_layout(layout: tuple[tuple[type, int], ...] = _LAYOUT) -> None:
    """Raise `HostError` unless this Python lays the structs out as the library does."""
    for struct, expected in layout:
        if ctypes.sizeof(struct) != expected:
            raise HostError(
                f"{struct.__name__} is {ctypes.sizeof(struct)} bytes here, {expected} in wasmtime; "
                "this platform's C types are not the ones wasmrun is written for: use a 64-bit Python on 64-bit Linux"
            )


check_layout()

# Trap codes (wasmtime_trap_code_t), by the names that users see.
TRAP_KINDS = {
    0: "stack overflow",
    1: "memory out of bounds",
    2: "misaligned memory access",
    3: "table out of bounds",
    4: "call of a null function",
    5: "indirect call of the wrong type",
    6: "integer overflow",
    7: "integer division by zero",
    8: "invalid conversion to integer",
    9: "unreachable",
    10: "interrupted",
    11: "out of fuel",
    12: "wait on unshared memory",
    13: "null reference",
    14: "array out of bounds",
    15: "allocation too large",
    16: "failed cast",
    21: "disabled instruction",
    49: "uncaught exception",
}
TRAP_UNREACHABLE = 9
TRAP_INTERRUPT = 10
TRAP_OUT_OF_FUEL = 11

# Value kinds of the wasm.h API (wasm_valkind_t); v128 has none.
VALUE_KINDS = {0: "i32", 1: "i64", 2: "f32", 3: "f64", 128: "externref", 129: "funcref"}
KIND_OF = {name: kind for kind, name in VALUE_KINDS.items()}
# Kinds of what is imported and exported (wasm_externkind_t).
EXTERN_KINDS = {0: "function", 1: "global", 2: "table", 3: "memory", 4: "tag"}

OPT_LEVEL_NONE = 0
REGALLOC_SINGLE_PASS = 1

# Callbacks. Arguments are c_size_t, so that a null pointer arrives as 0.
LookCallback = ctypes.CFUNCTYPE(_N, _N, _N, _N, _N)
"""``(context, data, deadline delta*, kind*) -> error*``, called when a guest reaches its epoch deadline."""
HostCallback = ctypes.CFUNCTYPE(_N, _N, _N, _N, _N)
"""``(env, caller, values*, count) -> trap*``, a host function with unchecked values."""
OutputCallback = ctypes.CFUNCTYPE(c_ssize_t, _N, _N, _N)
"""``(data, bytes*, length) -> bytes taken or negative errno``, a WASI output stream."""


def _declare(handle: Any, name: str, result: Any, *arguments: Any) -> Any:
    function = handle[name]  # indexing makes a function object of our own; attributes are shared
    function.restype = result
    function.argtypes = arguments
    return function


declare = _declare
"""For the part of the binding that only components need."""

config_new = _declare(quick, "wasm_config_new", _P)
config_stack = _declare(quick, "wasmtime_config_max_wasm_stack_set", None, _P, _N)
config_opt_level = _declare(quick, "wasmtime_config_cranelift_opt_level_set", None, _P, c_uint8)
config_regalloc = _declare(quick, "wasmtime_config_cranelift_regalloc_algorithm_set", None, _P, c_uint8)
config_strategy_pooling = _declare(quick, "wasmtime_pooling_allocation_strategy_set", None, _P, _P)


def config_flag(config: int, name: str, on: bool) -> None:
    """Switch the boolean engine setting *name* ("epoch_interruption", "wasm_threads") on or off."""
    _declare(quick, f"wasmtime_config_{name}_set", None, _P, c_bool)(config, on)


pooling_new = _declare(quick, "wasmtime_pooling_allocation_config_new", _P)
pooling_delete = _declare(quick, "wasmtime_pooling_allocation_config_delete", None, _P)


def pooling_number(pooling: int, name: str, value: int) -> None:
    """Set the number *name* ("total_memories", "table_elements") of a pooling allocator's configuration."""
    # Counts are uint32_t and sizes size_t; both arrive whole in a register.
    _declare(quick, f"wasmtime_pooling_allocation_config_{name}_set", None, _P, _N)(pooling, value)


engine_new = _declare(slow, "wasm_engine_new_with_config", _P, _P)
engine_delete = _declare(slow, "wasm_engine_delete", None, _P)
increment_epoch = _declare(quick, "wasmtime_engine_increment_epoch", None, _P)

wat2wasm = _declare(slow, "wasmtime_wat2wasm", _P, c_char_p, _N, _P)
module_new = _declare(slow, "wasmtime_module_new", _P, _P, c_char_p, _N, _P)
module_serialize = _declare(slow, "wasmtime_module_serialize", _P, _P, _P)
module_deserialize = _declare(slow, "wasmtime_module_deserialize", _P, _P, c_char_p, _N, _P)
module_deserialize_file = _declare(slow, "wasmtime_module_deserialize_file", _P, _P, c_char_p, _P)
module_delete = _declare(slow, "wasmtime_module_delete", None, _P)
module_imports = _declare(quick, "wasmtime_module_imports", None, _P, _P)
module_exports = _declare(quick, "wasmtime_module_exports", None, _P, _P)

importtype_module = _declare(quick, "wasm_importtype_module", _P, _P)
importtype_name = _declare(quick, "wasm_importtype_name", _P, _P)
importtype_type = _declare(quick, "wasm_importtype_type", _P, _P)
importtype_vec_delete = _declare(quick, "wasm_importtype_vec_delete", None, _P)
exporttype_name = _declare(quick, "wasm_exporttype_name", _P, _P)
exporttype_type = _declare(quick, "wasm_exporttype_type", _P, _P)
exporttype_vec_delete = _declare(quick, "wasm_exporttype_vec_delete", None, _P)
externtype_kind = _declare(quick, "wasm_externtype_kind", c_uint8, _P)
externtype_functype = _declare(quick, "wasm_externtype_as_functype", _P, _P)
externtype_memorytype = _declare(quick, "wasm_externtype_as_memorytype", _P, _P)
externtype_tabletype = _declare(quick, "wasm_externtype_as_tabletype", _P, _P)
memorytype_limits = _declare(quick, "wasm_memorytype_limits", _P, _P)
tabletype_limits = _declare(quick, "wasm_tabletype_limits", _P, _P)
functype_params = _declare(quick, "wasm_functype_params", _P, _P)
functype_results = _declare(quick, "wasm_functype_results", _P, _P)
functype_new = _declare(quick, "wasm_functype_new", _P, _P, _P)
functype_delete = _declare(quick, "wasm_functype_delete", None, _P)
valtype_new = _declare(quick, "wasm_valtype_new", _P, c_uint8)
valtype_kind = _declare(quick, "wasm_valtype_kind", c_uint8, _P)
valtype_v128 = _declare(quick, "wasmtime_wasm_valtype_v128", _P)
valtype_equal = _declare(quick, "wasmtime_wasm_valtype_equal", c_bool, _P, _P)
valtype_delete = _declare(quick, "wasm_valtype_delete", None, _P)
valtype_vec_new = _declare(quick, "wasm_valtype_vec_new", None, _P, _N, _P)

linker_new = _declare(quick, "wasmtime_linker_new", _P, _P)
linker_delete = _declare(quick, "wasmtime_linker_delete", None, _P)
linker_allow_shadowing = _declare(quick, "wasmtime_linker_allow_shadowing", None, _P, c_bool)
linker_define_wasi = _declare(quick, "wasmtime_linker_define_wasi", _P, _P)
linker_define_func = _declare(
    quick, "wasmtime_linker_define_func_unchecked", _P, _P, c_char_p, _N, c_char_p, _N, _P, HostCallback, _P, _P
)
linker_instantiate_pre = _declare(slow, "wasmtime_linker_instantiate_pre", _P, _P, _P, _P)
instance_pre_delete = _declare(quick, "wasmtime_instance_pre_delete", None, _P)

_INSTANTIATE = ("wasmtime_instance_pre_instantiate", _P, _P, _P, _P, _P)
instantiate = _declare(slow, *_INSTANTIATE)
"""For modules whose start function runs guest code."""
instantiate_quick = _declare(quick, *_INSTANTIATE)

store_new = _declare(quick, "wasmtime_store_new", _P, _P, _P, _P)
store_context = _declare(quick, "wasmtime_store_context", _P, _P)
store_limiter = _declare(quick, "wasmtime_store_limiter", None, _P, _U, _U, _U, _U, _U)
store_delete = _declare(slow, "wasmtime_store_delete", None, _P)
store_look = _declare(quick, "wasmtime_store_epoch_deadline_callback", None, _P, _P, _P, _P)

set_fuel = _declare(quick, "wasmtime_context_set_fuel", _P, _P, _U)
get_fuel = _declare(quick, "wasmtime_context_get_fuel", _P, _P, _P)
set_deadline = _declare(quick, "wasmtime_context_set_epoch_deadline", None, _P, _U)
set_wasi = _declare(quick, "wasmtime_context_set_wasi", _P, _P, _P)
caller_context = _declare(quick, "wasmtime_caller_context", _P, _P)
caller_export_get = _declare(quick, "wasmtime_caller_export_get", c_bool, _P, c_char_p, _N, _P)

export_get = _declare(quick, "wasmtime_instance_export_get", None, _P, _P, c_char_p, _U, _P)
call = _declare(slow, "wasmtime_func_call_unchecked", _P, _P, _P, _P, _U, _P)
_NEW_INSTANCE = ("wasmtime_instance_new", _P, _P, _P, _P, _U, _P, _P)
instance_new = _declare(slow, *_NEW_INSTANCE)
"""For modules whose start function runs guest code."""
instance_new_quick = _declare(quick, *_NEW_INSTANCE)
linker_get = _declare(quick, "wasmtime_linker_get", c_bool, _P, _P, c_char_p, _N, c_char_p, _N, _P)
memory_grow = _declare(quick, "wasmtime_memory_grow", _P, _P, _P, _U, _P)
memory_data = _declare(quick, "wasmtime_memory_data", _P, _P, _P)
memory_size = _declare(quick, "wasmtime_memory_data_size", _N, _P, _P)

# What only the taking of snapshots looks at.
module_validate = _declare(slow, "wasmtime_module_validate", _P, _P, c_char_p, _N)
export_find = _declare(quick, "wasmtime_instance_export_get", c_bool, _P, _P, c_char_p, _N, _P)
global_get = _declare(quick, "wasmtime_global_get", None, _P, _P, _P)
table_size = _declare(quick, "wasmtime_table_size", c_uint64, _P, _P)
table_get = _declare(quick, "wasmtime_table_get", c_bool, _P, _P, c_uint64, _P)
func_to_raw = _declare(quick, "wasmtime_func_to_raw", _P, _P, _P)

# What only the profiling of guests uses.
guestprofiler_new = _declare(quick, "wasmtime_guestprofiler_new", _P, _P, _P, c_uint64, _P, _N)
guestprofiler_sample = _declare(quick, "wasmtime_guestprofiler_sample", None, _P, _P, c_uint64)
guestprofiler_finish = _declare(slow, "wasmtime_guestprofiler_finish", _P, _P, _P)
guestprofiler_delete = _declare(quick, "wasmtime_guestprofiler_delete", None, _P)

error_new = _declare(quick, "wasmtime_error_new", _P, c_char_p)
error_delete = _declare(quick, "wasmtime_error_delete", None, _P)
error_message = _declare(quick, "wasmtime_error_message", None, _P, _P)
error_trace = _declare(quick, "wasmtime_error_wasm_trace", None, _P, _P)
trap_new_code = _declare(quick, "wasmtime_trap_new_code", _P, c_uint8)
trap_code = _declare(quick, "wasmtime_trap_code", c_bool, _P, _P)
trap_trace = _declare(quick, "wasm_trap_trace", None, _P, _P)
trap_delete = _declare(quick, "wasm_trap_delete", None, _P)
frame_vec_delete = _declare(quick, "wasm_frame_vec_delete", None, _P)
frame_func_index = _declare(quick, "wasm_frame_func_index", c_uint32, _P)
frame_func_name = _declare(quick, "wasmtime_frame_func_name", _P, _P)
byte_vec_new = _declare(quick, "wasm_byte_vec_new", None, _P, _N, c_char_p)
byte_vec_delete = _declare(quick, "wasm_byte_vec_delete", None, _P)

wasi_new = _declare(quick, "wasi_config_new", _P)
wasi_delete = _declare(quick, "wasi_config_delete", None, _P)
wasi_argv = _declare(quick, "wasi_config_set_argv", c_bool, _P, _N, _P)
wasi_env = _declare(quick, "wasi_config_set_env", c_bool, _P, _N, _P, _P)
wasi_stdin = _declare(quick, "wasi_config_set_stdin_bytes", None, _P, _P)
wasi_stdout = _declare(quick, "wasi_config_set_stdout_custom", None, _P, OutputCallback, _P, _P)
wasi_stderr = _declare(quick, "wasi_config_set_stderr_custom", None, _P, OutputCallback, _P, _P)
wasi_preopen = _declare(quick, "wasi_config_preopen_dir", c_bool, _P, c_char_p, c_char_p, c_bool)

memmove = ctypes.memmove
string_at = ctypes.string_at
addressof = ctypes.addressof


def take_text(vec_address: int, limit: int = 4000) -> str:
    """The text in the ``wasm_byte_vec_t`` at *vec_address*, cut to *limit* bytes; the vector stays its owner's."""
    vec = ByteVec.from_address(vec_address)
    if not vec.data or not vec.size:
        return ""
    return string_at(vec.data, min(vec.size, limit)).decode("utf-8", "replace")


def take_error(error: int, limit: int = 4000) -> str:
    """The message of the ``wasmtime_error_t`` at *error*, cut to *limit* bytes; deletes the error."""
    vec = ByteVec()
    error_message(error, addressof(vec))
    text = take_text(addressof(vec), limit)
    byte_vec_delete(addressof(vec))
    error_delete(error)
    return text


def take_cause(error: int, limit: int = 200) -> str:
    """The last line of the message of the error at *error*, where the engine puts the cause; deletes the error.

    What comes before it are names on the guest's stack, as many and as long as the guest likes.
    """
    vec = ByteVec()
    error_message(error, addressof(vec))
    length = min(vec.size, limit)
    text = string_at(vec.data + vec.size - length, length).decode("utf-8", "replace") if length else ""
    byte_vec_delete(addressof(vec))
    error_delete(error)
    return text.strip().rpartition("\n")[2].strip()
