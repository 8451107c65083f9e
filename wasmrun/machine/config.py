"""The engine's configuration: what compiled code depends on, the same for the compiler and for the engine."""

from __future__ import annotations

from wasmrun.hints import NamedTuple
from wasmrun.machine import capi

# Proposals that functions do not need. Each is attack surface; each is on by default in the engine.
_OFF = (
    "wasm_threads",
    "shared_memory",
    "wasm_tail_call",
    "wasm_function_references",
    "wasm_gc",
    "wasm_relaxed_simd",
    "wasm_multi_memory",
    "wasm_memory64",
    "wasm_exceptions",
    "wasm_stack_switching",
    "wasm_custom_page_sizes",
    "wasm_wide_arithmetic",
    "wasm_component_model",
)
# Proposals for components: what is not preview 2. With the last one on, the engine takes no two borrowed resources in
# one call of a host function (50.0.1).
_OFF_IN_COMPONENTS = (
    "wasm_component_model_async",
    "wasm_component_model_more_async_builtins",
    "wasm_component_model_async_stackful",
    "wasm_component_model_map",
    "wasm_component_model_implements",
    "concurrency_support",
)
# What compilers for WebAssembly emit today.
_ON = ("wasm_bulk_memory", "wasm_multi_value", "wasm_simd", "wasm_reference_types")


class Room(NamedTuple):
    """How many of each a sandbox may have. Each memory takes a slot of the engine's, which is 4 GiB of addresses."""

    core_instances: int
    memories: int
    tables: int
    component_instances: int


OF_MODULES = Room(1, 1, 1, 0)
OF_PLUGINS = Room(2, 2, 1, 0)
# One instance of each is our own, through which streams are waited for.
OF_COMPONENTS = Room(core_instances=101, memories=4, tables=20, component_instances=2)


class EngineSettings(NamedTuple):
    """What compiled code depends on: one engine, and one set of artifacts, for each combination.

    With *is_hasty*, compiling takes half of the time, and the code runs slower: for what runs once, and is not kept.
    With *has_kernels* the code is the same, and the engine has room for a kernel in each of its slots, as Extism
    plug-ins need one. With *has_components*, it runs components, and nothing else.
    """

    stack: int
    is_metered: bool
    is_hasty: bool = False
    has_kernels: bool = False
    has_components: bool = False

    @property
    def room(self) -> Room:
        """What each of the engine's slots has room for."""
        return OF_COMPONENTS if self.has_components else OF_PLUGINS if self.has_kernels else OF_MODULES

    def describe(self) -> str:
        """The settings as one line; part of an artifact's key."""
        line = f"stack={self.stack} metered={int(self.is_metered)} on={','.join(_ON)} off={','.join(_OFF)}"
        # The number is that of the surface, which is kept beside the code.
        return f"{line} components=2 off={','.join(_OFF_IN_COMPONENTS)}" if self.has_components else line


def new_config(settings: EngineSettings) -> int:
    """A ``wasm_config_t`` for *settings*; the compiler's child and the engine make the same one."""
    config: int = capi.config_new()
    capi.config_flag(config, "epoch_interruption", True)
    capi.config_flag(config, "consume_fuel", settings.is_metered)
    # A memory that never moves lets its base be read once for a sandbox's whole life.
    capi.config_flag(config, "memory_may_move", False)
    for name in _ON:
        capi.config_flag(config, name, True)
    for name in _OFF:
        capi.config_flag(config, name, False)
    if settings.has_components:
        capi.config_flag(config, "wasm_component_model", True)
        for name in _OFF_IN_COMPONENTS:
            capi.config_flag(config, name, False)
    capi.config_stack(config, settings.stack)
    if settings.is_hasty:
        capi.config_opt_level(config, capi.OPT_LEVEL_NONE)
        capi.config_regalloc(config, capi.REGALLOC_SINGLE_PASS)
    return config
