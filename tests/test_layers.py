"""Imports point down only, the engine is known to one file, and importing does nothing but import."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import wasmrun
from wasmrun.machine.hotpath import choose

PACKAGE = Path(str(wasmrun.__file__)).parent

# The layers of docs/architecture.md. A module that is missing here has no place yet.
LAYERS = {
    0: (
        "hints",
        "logger",
        "errors",
        "units",
        "settings",
        "dataclass",
        "limits",
        "function",
        "invocation",
        "calls",
        "jsontext",
        "addresses",
        "httprequest",
        "httpgrant",
        "payload",
        "cgi",
    ),
    1: ("machine", "hardening"),
    2: ("sandbox", "plan", "requestids", "yards", "shelf", "pool"),
    3: (
        "watch",
        "threadstate",
        "futures",
        "gathering",
        "keeper",
        "core",
        "reporting",
        "express",
        "runner",
        "base_executor",
        "executor",
        "single",
        "pinned",
        "outbound",
        "serving",
        "manifest",
        "processes",
    ),
    6: ("bench", "projects", "cli", "__main__"),
}
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path: Path) -> str:
    """The module's name without the package's: "machine.abi.native"."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NOT_THERE = {"__main__"} | ({"machine.hotpath.compiled"} if choose(None) != "compiled" else set())
"""Modules that cannot be imported by themselves; the compiled hot path only where it was built."""
TREES = {name_of(path): ast.parse(path.read_text()) for path in FILES}
BINDINGS = ("machine.capi", "machine.components.binding")
by_module = pytest.mark.parametrize("module", TREES)


def imported(module: str) -> set[str]:
    """Everything that a module imports, anywhere in it; from this package as "wasmrun.machine.capi"."""
    found = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively; this test reads absolute names"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own(names: set[str]) -> set[str]:
    """Of what is imported, the modules of this package, without its name."""
    return {name.removeprefix("wasmrun.") for name in names if name.split(".")[0] == "wasmrun"}


def at_import(tree: ast.Module) -> list[ast.stmt]:
    """The statements that run when a module is imported: not those in functions, nor those only for type checkers."""
    found: list[ast.stmt] = []
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'"):
            continue
        found.append(node)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            pending += [child for child in ast.walk(node) if isinstance(child, ast.stmt) and child is not node]
    return found


@by_module
def test_module_has_its_layer(module: str) -> None:
    """A new one is put into a layer first."""
    assert module.split(".", maxsplit=1)[0] in LAYER_OF


@by_module
def test_module_imports_downwards_only(module: str) -> None:
    """Everywhere in it: in functions, and for type checkers, too."""
    layer = LAYER_OF[module.split(".", maxsplit=1)[0]]
    for name in own(imported(module)):
        below = LAYER_OF.get(name.split(".")[0])
        if below is None:
            # The package's own names lead anywhere, so only the top layer takes them from there.
            assert layer == 6 or name == "__version__", f"{module} imports {name} from the package itself"
        else:
            assert below <= layer, f"{module} (layer {layer}) imports {name} (layer {below})"


def test_imports_go_round_in_no_circle_when_they_run() -> None:
    """Modules that need each other cannot be read one by one. What only a type checker sees does not count."""
    needs = {}
    for module, tree in TREES.items():
        nodes = at_import(tree)
        names = {
            f"{node.module}.{alias.name}" for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
        }
        names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        wanted = own(names)
        needs[module] = {
            other
            for other in TREES
            if other != module and (other in wanted or any(name.startswith(other + ".") for name in wanted))
        }
    done: set[str] = set()
    while True:
        ready = {module for module, wanted in needs.items() if module not in done and wanted <= done}
        if not ready:
            break
        done |= ready
    circle = {module: wanted - done for module, wanted in needs.items() if module not in done}
    # A package's own __init__ imports its parts, which is no circle unless they import it.
    assert not circle


@by_module
def test_engine_is_known_to_the_binding_alone(module: str) -> None:
    """Nobody else imports the wheel, opens its library, or takes functions from it by their C names."""
    if module in BINDINGS:
        return
    assert not {name for name in imported(module) if name.split(".")[0] == "wasmtime"}
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute | ast.Name):
            holder = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id
            assert holder not in ("quick", "slow"), f"{module} uses {ast.unparse(node)}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert "libwasmtime" not in node.value
            assert node.value != "wasmtime"


@pytest.mark.parametrize("binding", BINDINGS)
def test_binding_declares_only_what_is_used(binding: str) -> None:
    """Each function of the library that is declared is called somewhere."""
    declared = {
        target.id
        for node in TREES[binding].body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) in ("_declare", "declare")
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert len(declared) > 40
    used = {node.attr for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {
        node.id for node in ast.walk(TREES[binding]) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert declared <= used


@pytest.mark.parametrize("module", [module for module in TREES if LAYER_OF[module.split(".")[0]] == 0])
def test_values_have_no_threads_and_no_io(module: str) -> None:
    """Layer 0 needs the standard library's plain parts, and nothing else."""
    allowed = {
        "__future__", "base64", "collections", "dataclasses", "datetime", "ipaddress", "json", "math", "os", "re", "typing",
        "wasmrun",
    } | ({"logging"} if module == "logger" else set())  # fmt: skip
    plain = {name for name in imported(module) if not name.startswith("urllib.parse.")}  # the rest of it is I/O
    assert {name.split(".")[0] for name in plain} <= allowed
    called = {ast.unparse(node.func) for node in ast.walk(TREES[module]) if isinstance(node, ast.Call)}
    assert "open" not in called
    # Of these, only abspath asks the system anything: for the current directory.
    assert {name for name in called if re.fullmatch(r"os(\.\w+)+", name)} <= {
        "os.fspath", "os.path.abspath", "os.path.splitext", "os.path.basename", "os.path.join",
    }  # fmt: skip


@by_module
def test_package_from_elsewhere_is_imported_where_it_belongs(module: str) -> None:
    """The command line's own stay there; MessagePack belongs to the machine, psutil to who watches the memory."""
    foreign = {name.split(".")[0] for name in imported(module)} & {
        *("click", "rich", "msgpack", "psutil", "pyseccomp", "httpcore", "certifi"),
    }
    layer = LAYER_OF[module.split(".", maxsplit=1)[0]]
    assert foreign <= (
        {"pyseccomp"}
        if module == "hardening.seccomp"
        else {"httpcore", "certifi"}
        if module in ("pinned", "outbound")
        else {"click", "rich", "psutil"}
        if layer == 6
        else {"msgpack"}
        if layer == 1
        else {"psutil"}
        if layer == 3
        else set()
    )


@pytest.mark.parametrize("module", [module for module in TREES if module.split(".")[0] == "hardening"])
def test_hardening_knows_nothing_of_the_engine(module: str) -> None:
    """It is done to a process before there is one, and can be read without it."""
    assert {name.split(".")[0] for name in own(imported(module))} <= {"hardening", "errors", "units"}


@by_module
def test_module_leaves_the_process_as_it_is(module: str) -> None:
    """Nothing writes to the environment, or changes directory, mask or limits of a process that is not its own."""
    for node in ast.walk(TREES[module]):
        text = ast.unparse(node) if isinstance(node, (ast.Call, ast.Assign, ast.AugAssign, ast.Delete)) else ""
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.Delete)):
            targets = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else [node.target]
            assert not [target for target in targets if "os.environ" in ast.unparse(target)], text
        if isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            assert function not in (
                "os.putenv",
                "os.unsetenv",
                "os.chdir",
                "os.umask",
                "logging.basicConfig",
                "locale.setlocale",
            )
            if function.startswith("os.environ.") and function != "os.environ.get":
                assert module == "hardening.environment", text
            if function == "resource.setrlimit":
                assert module in ("machine.compile_child", "hardening.resources"), text


# Locks of what belongs to the process as a whole. Each needs a reason beside it.
_SHARED = {("machine.threads", "_stack_size_lock")}
_MUTABLE_CALLS = {
    "dict", "list", "set", "bytearray", "deque", "Counter", "defaultdict", "OrderedDict",
    "collections.deque", "threading.Lock",
    "threading.RLock", "threading.local", "threading.Event", "threading.Condition", "queue.Queue", "itertools.count",
    "weakref.WeakKeyDictionary", "weakref.WeakValueDictionary", "weakref.WeakSet", "contextvars.ContextVar",
}  # fmt: skip


@by_module
def test_module_keeps_no_state(module: str) -> None:
    """No containers to be filled, no locks, no caches, no `global`: what there is belongs to somebody."""
    tree = TREES[module]
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Global), f"{module} has a global statement"
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for decorator in node.decorator_list:
                name = ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)
                assert name.removeprefix("functools.") not in ("cache", "lru_cache"), f"{module}.{node.name}"
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            name = ast.unparse(target)
            value = node.value
            if isinstance(value, ast.Call) and ast.unparse(value.func) in _MUTABLE_CALLS:
                assert (module, name) in _SHARED, f"{module}.{name}"
            if isinstance(value, (ast.Dict, ast.List, ast.Set)):
                assert name.isupper(), f"{module}.{name} is a table by its value, and no constant by its name"


def in_child(program: str) -> dict[str, object]:
    """What *program* prints as JSON, in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


_SNAPSHOT = """
import json, os, signal, sys, threading
from pathlib import Path
def snapshot():
    maps = [line.split(" ", 1)[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines()]
    return {
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "threads": threading.active_count(),
        "tasks": len(os.listdir("/proc/self/task")),
        "timers": Path("/proc/self/timers").read_text(),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "handlers": {number: str(signal.getsignal(number)) for number in signal.valid_signals()},
        "children": Path(f"/proc/self/task/{os.getpid()}/children").read_text(),
        "large maps": [int(end, 16) - int(start, 16) for start, end in maps if int(end, 16) - int(start, 16) > 1 << 30],
    }
"""


def test_importing_everything_does_nothing_else() -> None:
    """No variable, thread, timer, descriptor, signal handler, log handler or engine; not the wheel's package."""
    names = [f"wasmrun.{module}" for module in TREES if module not in NOT_THERE]
    said = in_child(
        f"{_SNAPSHOT}\nimport importlib, logging\nbefore = snapshot()\n"
        f"for name in ['wasmrun', *{names!r}]: importlib.import_module(name)\n"
        "after = snapshot()\n"
        "print(json.dumps({'changed': [key for key in before if before[key] != after[key]],\n"
        "  'engine': [name for name in sys.modules if name.split('.')[0] == 'wasmtime'],\n"
        "  'handlers': len(logging.getLogger().handlers) + len(logging.getLogger('wasmrun').handlers)}))"
    )
    assert said == {"changed": [], "engine": [], "handlers": 0}


def test_importing_the_package_loads_next_to_nothing() -> None:
    """Limits and errors are had without the engine, whose library takes milliseconds to load."""
    said = in_child(
        "import json, sys, wasmrun\n"
        "first = sorted(name for name in sys.modules if name.split('.')[0] == 'wasmrun')\n"
        "wasmrun.Limits, wasmrun.InvalidFunction, wasmrun.Function, wasmrun.Report\n"
        "print(json.dumps([first, sorted(name for name in sys.modules if name.startswith('wasmrun.machine')),\n"
        "  'ctypes' in sys.modules, 'msgpack' in sys.modules]))"
    )
    assert said == [["wasmrun"], [], False, False]


def test_running_functions_uses_neither_the_wheels_package_nor_any_module_level_state(tmp_path: Path) -> None:
    """What modules hold in their globals is the same after answers, failures and a shutdown."""
    said = in_child(
        f"NOT_THERE = {NOT_THERE!r}"
        + """
import copy, importlib, json, pkgutil, sys, types
import wasmrun
for item in pkgutil.walk_packages(wasmrun.__path__, "wasmrun."):
    if item.name.partition(".")[2] not in NOT_THERE:
        importlib.import_module(item.name)
CONTAINERS = (dict, list, set, bytearray)
def state():
    return {
        f"{name}.{key}": repr(sorted(map(repr, value)))
        for name, module in sys.modules.items() if name.startswith("wasmrun.")
        for key, value in vars(module).items() if isinstance(value, CONTAINERS) and not key.startswith("__")
    }
before = state()
assert "wasmrun.errors.OUTCOMES" in before
with wasmrun.Executor(cache_dir=CACHE) as executor:
    for body in ("(i32.const 1)", "(unreachable)"):
        function = wasmrun.Function(f'(module (func (export "f") (result i32) {body}))')
        for _ in range(3):
            executor.run(function)
            executor.submit(function).exception()
after = state()
print(json.dumps([before == after, "wasmtime" in sys.modules]))
""".replace("CACHE", repr(str(tmp_path / "cache")))
    )
    assert said == [True, False]
