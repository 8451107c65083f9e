"""The binding's second part: what components need of wasmtime's C API, declared when one is loaded.

The same rules as in `wasmrun.machine.capi`. Values of the component model are structs of 32 bytes here, told
apart by their first byte; a value that the engine gave is freed by whoever was given it.
"""

from __future__ import annotations

import ctypes
from ctypes import c_bool, c_char_p, c_int, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p

from wasmrun.machine import capi
from wasmrun.machine.capi import check_layout, declare, quick, slow

WASI_VERSION = "0.2.12"
"""The version under which the engine offers preview 2. A component that wants an older one gets this one."""

_P = c_void_p
_N = c_size_t


class Value(ctypes.Structure):
    """``wasmtime_component_val_t``, its union as the words that it is made of.

    A text or an enumeration's case is its length and its address; a list its length and the address of its values;
    a result whether it is ok, and the address of its value or 0; a resource the address of its handle.
    """

    _fields_ = (("kind", c_uint8), ("first", c_uint64), ("second", c_uint64), ("third", c_uint64))


class ValueType(ctypes.Structure):
    """``wasmtime_component_valtype_t``."""

    _fields_ = (("kind", c_uint8), ("of", c_void_p))


class Item(ctypes.Structure):
    """``wasmtime_component_item_t``: what an import or an export is."""

    _fields_ = (("kind", c_uint8), ("of", c_void_p), ("type", c_void_p))


check_layout(((Value, 32), (ValueType, 16), (Item, 24)))

# Kinds of values (wasmtime_component_valkind_t).
BOOL, U8, U16, U32, U64, STRING, LIST, RECORD, TUPLE, VARIANT, ENUM, OPTION, RESULT = 0, 2, 4, 6, 8, *range(12, 20)
RESOURCE = 21
# Kinds of types (wasmtime_component_valtype_kind_t), by the names that WIT has for them.
TYPE_NAMES = (
    "bool", "s8", "s16", "s32", "s64", "u8", "u16", "u32", "u64", "f32", "f64", "char", "string", "list", "record",
    "tuple", "variant", "enum", "option", "result", "flags", "own", "borrow", "future", "stream", "error-context",
)  # fmt: skip
# Kinds of imports and exports (wasmtime_component_item_kind_t).
ITEM_KINDS = ("component", "instance", "module", "function", "resource", "core function", "type")

HostCallback = ctypes.CFUNCTYPE(_N, _N, _N, _N, _N, _N, _N, _N)
"""``(data, context, type, arguments*, count, results*, count) -> error*``, a function of the host."""
DropCallback = ctypes.CFUNCTYPE(_N, _N, _N, c_uint32)
"""``(data, context, number) -> error*``, called when a guest drops a resource of the host's."""

component_new = declare(slow, "wasmtime_component_new", _P, _P, c_char_p, _N, _P)
component_serialize = declare(slow, "wasmtime_component_serialize", _P, _P, _P)
component_deserialize = declare(slow, "wasmtime_component_deserialize", _P, _P, c_char_p, _N, _P)
component_deserialize_file = declare(slow, "wasmtime_component_deserialize_file", _P, _P, c_char_p, _P)
component_delete = declare(slow, "wasmtime_component_delete", None, _P)
export_index = declare(quick, "wasmtime_component_get_export_index", _P, _P, _P, c_char_p, _N)
export_index_delete = declare(quick, "wasmtime_component_export_index_delete", None, _P)

linker_new = declare(quick, "wasmtime_component_linker_new", _P, _P)
linker_delete = declare(quick, "wasmtime_component_linker_delete", None, _P)
linker_allow_shadowing = declare(quick, "wasmtime_component_linker_allow_shadowing", None, _P, c_bool)
linker_add_wasi = declare(quick, "wasmtime_component_linker_add_wasip2", _P, _P)
linker_stub = declare(quick, "wasmtime_component_linker_define_unknown_imports_as_traps", _P, _P, _P)
linker_root = declare(quick, "wasmtime_component_linker_root", _P, _P)
place_add = declare(quick, "wasmtime_component_linker_instance_add_instance", _P, _P, c_char_p, _N, _P)
place_delete = declare(quick, "wasmtime_component_linker_instance_delete", None, _P)
place_add_function = declare(
    quick, "wasmtime_component_linker_instance_add_func", _P, _P, c_char_p, _N, HostCallback, _P, _P
)
place_add_resource = declare(
    quick, "wasmtime_component_linker_instance_add_resource", _P, _P, c_char_p, _N, _P, DropCallback, _P, _P
)
# Whatever is instantiated may run code: a component's parts have start functions.
instantiate = declare(slow, "wasmtime_component_linker_instantiate", _P, _P, _P, _P, _P)
instance_function = declare(quick, "wasmtime_component_instance_get_func", c_bool, _P, _P, _P, _P)
call = declare(slow, "wasmtime_component_func_call", _P, _P, _P, _P, _N, _P, _N)

value_delete = declare(quick, "wasmtime_component_val_delete", None, _P)
value_new = declare(quick, "wasmtime_component_val_new", _P, _P)
list_new = declare(quick, "wasmtime_component_vallist_new_uninit", None, _P, _N)
tuple_new = declare(quick, "wasmtime_component_valtuple_new_uninit", None, _P, _N)
record_new = declare(quick, "wasmtime_component_valrecord_new_uninit", None, _P, _N)
resource_type_new = declare(quick, "wasmtime_component_resource_type_new_host", _P, c_uint32)
resource_type_delete = declare(quick, "wasmtime_component_resource_type_delete", None, _P)
resource_new = declare(quick, "wasmtime_component_resource_host_new", _P, c_bool, c_uint32, c_uint32)
resource_number = declare(quick, "wasmtime_component_resource_host_rep", c_uint32, _P)
resource_delete = declare(quick, "wasmtime_component_resource_host_delete", None, _P)
resource_to_any = declare(quick, "wasmtime_component_resource_host_to_any", _P, _P, _P, _P)
resource_drop = declare(slow, "wasmtime_component_resource_any_drop", _P, _P, _P)
resource_any_delete = declare(quick, "wasmtime_component_resource_any_delete", None, _P)
resource_from_any = declare(quick, "wasmtime_component_resource_any_to_host", _P, _P, _P, _P)
exit_status = declare(quick, "wasmtime_error_exit_status", c_bool, _P, ctypes.POINTER(c_int))

# What only the compiler's child looks at.
component_type = declare(quick, "wasmtime_component_type", _P, _P)
component_type_delete = declare(quick, "wasmtime_component_type_delete", None, _P)
component_imports = declare(quick, "wasmtime_component_type_import_count", _N, _P, _P)
component_import = declare(quick, "wasmtime_component_type_import_nth", c_bool, _P, _P, _N, _P, _P, _P)
component_exports = declare(quick, "wasmtime_component_type_export_count", _N, _P, _P)
component_export = declare(quick, "wasmtime_component_type_export_nth", c_bool, _P, _P, _N, _P, _P, _P)
instance_exports = declare(quick, "wasmtime_component_instance_type_export_count", _N, _P, _P)
instance_export = declare(quick, "wasmtime_component_instance_type_export_nth", c_bool, _P, _P, _N, _P, _P, _P)
extern_type = declare(quick, "wasmtime_component_extern_type", None, _P, _P)
extern_delete = declare(quick, "wasmtime_component_extern_delete", None, _P)
item_delete = declare(quick, "wasmtime_component_item_delete", None, _P)
function_is_async = declare(quick, "wasmtime_component_func_type_async", c_bool, _P)
function_params = declare(quick, "wasmtime_component_func_type_param_count", _N, _P)
function_param = declare(quick, "wasmtime_component_func_type_param_nth", c_bool, _P, _N, _P, _P, _P)
function_result = declare(quick, "wasmtime_component_func_type_result", c_bool, _P, _P)
value_type_delete = declare(quick, "wasmtime_component_valtype_delete", None, _P)
list_element = declare(quick, "wasmtime_component_list_type_element", None, _P, _P)
option_value = declare(quick, "wasmtime_component_option_type_ty", None, _P, _P)
result_ok = declare(quick, "wasmtime_component_result_type_ok", c_bool, _P, _P)
result_error = declare(quick, "wasmtime_component_result_type_err", c_bool, _P, _P)

addressof = capi.addressof
