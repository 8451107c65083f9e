"""The origin of a file: what kind of file it is, which tools made it, which host it is for, and what to do about that.

It is read without the engine, since it is told of files that the engine refuses, and from hostile hands: whatever is
read is bounded, and what is shown of it is escaped and cut.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator

from wasmrun.errors import printable
from wasmrun.hints import NamedTuple
from wasmrun.machine.facts import is_wasm
from wasmrun.machine.wasmreader import VALUE_TYPE, Reader

_COMPONENT = b"\x01\0"
"""The layer in a header: the version of what is inside differs, and is the engine's to judge."""

_MOST_SECTIONS = 10_000
_MOST_NAMES = 5_000
"""Most names that are read of a file, imports and exports together."""
_MOST_TOOLS = 12
_MOST_PRODUCERS = 64 * 1024
_MOST_DEPTH = 4
_SHOWN = 60

_CUSTOM, _TYPE, _IMPORT, _MEMORY, _EXPORT, _TAG = 0, 1, 2, 5, 7, 13
_CORE_MODULE, _NESTED = 1, 4  # sections of a component
_KINDS = ("function", "table", "memory", "global", "tag")
_OF_COLLECTOR = (0x4E, 0x4F, 0x50, 0x5E, 0x5F)


class Survey(NamedTuple):
    """What stands in a WebAssembly file, as far as it could be read.

    ``imports`` are module, name and kind, ``exports`` name and kind. ``signs`` are "memory64", "shared memory",
    "several memories", "exceptions", "collector" and "object file". ``memory_pages`` is None where no memory was seen.
    """

    is_component: bool
    imports: tuple[tuple[str, str, str], ...]
    exports: tuple[tuple[str, str], ...]
    made_by: tuple[str, ...]
    signs: frozenset[str]
    memory_pages: int | None


class Host(NamedTuple):
    """What a module was made for instead of wasmrun, and what to do to have it run here."""

    name: str
    advice: str


_SDK = "write its handler with an SDK: wasmrun new"
_PREVIEW_1 = "build it for WASI preview 1 (wasm32-wasip1)"

_HOSTS = tuple(
    (re.compile(module), re.compile(name), Host(host, advice))
    for module, name, host, advice in (
        ("env", r"proxy_\w+", "a Proxy-wasm host such as Envoy", f"filters have no handler that takes an event; {_SDK}"),
        ("go|gojs", ".*", "JavaScript, as GOOS=js builds it",
         "build it for WASI: GOOS=wasip1 GOARCH=wasm go build, or wasmrun new --lang go"),
        (r"wbg|__wbindgen\w*|.*_bg\.js", ".*", "JavaScript, by wasm-bindgen",
         f"build it without wasm-bindgen: {_PREVIEW_1[9:]}, or with the Rust SDK (wasmrun new --lang rust)"),
        ("env", r"_?emscripten_\w+|invoke_[a-z]+|__syscall_\w+|__cxa_\w+|_embind_\w+|_abort_js|__assert_fail|_tzset_js",
         "JavaScript, by Emscripten", f"build it with -sSTANDALONE_WASM, or {_PREVIEW_1[6:]}: zig cc -target wasm32-wasi"),
        ("a", "[A-Za-z]{1,2}", "JavaScript, by Emscripten",
         f"build it with -sSTANDALONE_WASM, or {_PREVIEW_1[6:]}: zig cc -target wasm32-wasi"),
        ("wasi_unstable", ".*", "WASI preview 0", f"{_PREVIEW_1}, as every newer toolchain does"),
        (r"wasi:.*|\$root|\[export\].*|cm32p2.*", ".*", "the component model, before it was made a component",
         f"make it one (wasm-tools component new), or {_PREVIEW_1}"),
        (r"javy.*", ".*", "a plugin of Javy that is linked at run time", "build it with its own: javy build without -C dynamic"),
        (r"wasix_\w+", ".*", "WASIX", _PREVIEW_1),
        ("wasi", "thread-spawn", "WASI threads", f"build it without threads: {_PREVIEW_1[9:]}"),
        (r"wasi_(?:ephemeral_)?nn|wasmedge_.*", ".*", "WasmEdge", f"build it without its extensions: {_PREVIEW_1[9:]}"),
        ("wapc", ".*", "a waPC host", _SDK),
        ("fastly_.*", ".*", "Fastly Compute", _SDK),
        ("env", "memory", "a host that gives it its memory, such as Emscripten's or one with threads",
         "let it have its own: link it without --import-memory"),
    )
)  # fmt: skip

_ADVICE = {
    "object file": "it is an object file, which was not linked: link it (wasm-ld, or the compiler without -c)",
    "memory64": "its memory has addresses of 64 bits: build it for wasm32",
    "shared memory": "its memory is shared by threads, of which there are none here: build it without them",
    "several memories": "it has several memories, and a function has one: link it to use one",
    "exceptions": "it uses WebAssembly's exceptions, which are switched off here: build it without them "
    '(C++: -fno-exceptions; C: without setjmp; Rust: panic = "abort")',
    "collector": "it is for an engine's garbage collector, which is switched off here: build it for linear memory",
}

_FILES = (
    (b"\x7fELF.{3}\xc8", "native code that wasmtime compiled", "such code is not taken from anybody; give the module itself"),
    (b"\x7fELF", "an ELF file, a program or library of native code", "compile its sources to WebAssembly"),
    (b"MZ", "a program for Windows", "compile its sources to WebAssembly"),
    (b"[\xce\xcf]\xfa\xed\xfe|\xfe\xed\xfa[\xce\xcf]|\xca\xfe\xba\xbe", "native code for macOS, or Java's",
     "compile its sources to WebAssembly"),
    (b"BC\xc0\xde", "LLVM bitcode", "link it: it is what a compiler makes on its way to a module"),
    (b"!<arch>", "a static library", "link it with a program"),
    (b"PK(?:\3\4|\5\6)", "a zip archive", "unpack it, and give the module in it"),
    (b"\x1f\x8b", "a gzip file", "unpack it with gunzip"),
    (b"BZh|\xfd7zXZ|[(]\xb5/\xfd", "a compressed file", "unpack it"),
    (rb".{257}ustar", "a tar archive", "unpack it, and give the module in it"),
    (rb"(?i:\s*<(?:!doctype\s+html|html|head|body)\b)", "a web page", "is it what a failed download left?"),
    (rb"\s*<", "XML or HTML", "give a .wasm or .wat file"),
    (b"\x89PNG|\xff\xd8\xff|GIF8|%PDF", "a picture or a document", "give a .wasm or .wat file"),
    (b"version https://git-lfs", "a pointer of Git LFS", "fetch the file itself with git lfs pull"),
    (rb"\s*\{", "JSON", "give the module that it is about; an Extism manifest is named with --manifest"),
    (rb"#!", "a script", "give a .wasm or .wat file"),
)  # fmt: skip
_MAGICS = tuple((re.compile(magic, re.DOTALL), what, advice) for magic, what, advice in _FILES)


def kind_of_file(data: bytes) -> tuple[str, str]:
    """What a file is that is no WebAssembly, and what to do about it."""
    for magic, what, advice in _MAGICS:
        if magic.match(data, 0, 512):
            return what, advice
    start = data[:512]
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        # The cut may be within a character.
        text = start[: error.start].decode() if error.start > len(start) - 4 and len(data) > 512 else ""
    if text and all(character.isprintable() or character in "\t\n\r\f" for character in text):
        return (
            "text that is no WAT, which would begin with (module",
            "sources are built into a module first (wasmrun new, wasmrun build)",
        )
    return f"data that starts with {start[:4].hex(' ') or 'nothing'}, not with 00 61 73 6d", "give a .wasm or .wat file"


def host_of(names: Iterable[tuple[str, str]]) -> Host | None:
    """The host that a module with imports of these *names* was made for; None where they say nothing."""
    pairs = [(module[:1000], name[:1000]) for module, name in names]
    for of_module, of_name, host in _HOSTS:
        if any(of_module.fullmatch(module) and of_name.fullmatch(name) for module, name in pairs):
            return host
    return None


def host(found: Survey) -> Host | None:
    """The host that the module of a survey was made for."""
    if any(name.startswith("proxy_abi_version_") for name, _ in found.exports):
        return _HOSTS[0][2]
    return host_of((module, name) for module, name, _ in found.imports)


def advice(data: bytes, reason: str) -> str:
    """What to do about a file that was refused for *reason*, where that is known; else nothing."""
    if not is_wasm(data):
        return ""
    found = survey(data)
    if found.is_component:
        return ""
    for sign, what in _ADVICE.items():
        if sign in found.signs or (sign == "exceptions" and "exceptions" in reason):
            return what
    return ""


def survey(data: bytes) -> Survey:
    """What can be read of the WebAssembly file *data*, up to where it is damaged."""
    file = _File()
    is_component = data[6:8] == _COMPONENT
    if is_component:
        file.read_component(Reader(data, 8, len(data)), 0)
    else:
        file.read_module(Reader(data, 8, len(data)))
        file.look_at_signs(data)
    return Survey(
        is_component,
        tuple(file.imports),
        tuple(file.exports),
        tuple(dict.fromkeys(file.tools))[:_MOST_TOOLS],
        frozenset(file.signs),
        file.memory_pages,
    )


class _File:
    def __init__(self) -> None:
        self.imports: list[tuple[str, str, str]] = []
        self.exports: list[tuple[str, str]] = []
        self.tools: list[str] = []
        self.signs: set[str] = set()
        self.memory_pages: int | None = None
        self._sections = 0
        self._memories = 0
        self._customs: set[str] = set()

    def _parts(self, file: Reader) -> Iterator[tuple[int, Reader]]:
        """Each section's number, and a reader of it."""
        while file.at < file.end and self._sections < _MOST_SECTIONS:
            self._sections += 1
            section, size = file.byte(), file.number()
            end = min(file.at + size, file.end)
            yield section, Reader(file.data, file.at, end)
            file.at = end

    def read_component(self, file: Reader, depth: int) -> None:
        """The tools that are named in a component, and in what is nested in it."""
        with contextlib.suppress(ValueError):  # damaged: what was read is what there is
            for section, reader in self._parts(file):
                if section == _CUSTOM:
                    self._read(self._custom, reader)
                elif section in (_CORE_MODULE, _NESTED) and depth < _MOST_DEPTH:
                    reader.take(8)
                    self.read_component(reader, depth + 1)

    def read_module(self, file: Reader) -> None:
        """Everything that is told of a core module."""
        read = {_CUSTOM: self._custom, _TYPE: self._types, _IMPORT: self._imports, _MEMORY: self._memory_section,
                _EXPORT: self._exports}  # fmt: skip
        with contextlib.suppress(ValueError):  # as above
            for section, reader in self._parts(file):
                if section in read:
                    self._read(read[section], reader)
                elif section == _TAG:
                    self.signs.add("exceptions")

    def _read(self, part: object, reader: Reader) -> None:
        # Of a damaged section no more can be read; the next one begins where its size says.
        with contextlib.suppress(ValueError):
            part(reader)  # type: ignore[operator]  # one of the methods below

    def _name(self, reader: Reader) -> str:
        return reader.take(reader.number()).decode(errors="replace")

    def _custom(self, reader: Reader) -> None:
        name = self._name(reader)
        if len(self._customs) < _MOST_NAMES:
            self._customs.add(name[:_SHOWN])
        if name == "linking":
            self.signs.add("object file")
        if name != "producers" or reader.end - reader.at > _MOST_PRODUCERS:
            return
        for _ in range(min(reader.number(), 3)):
            self._name(reader)
            for _ in range(reader.number()):
                tool, version = self._name(reader), self._name(reader)
                if len(self.tools) < 4 * _MOST_TOOLS:
                    self.tools.append(printable(f"{tool} {version}".strip(), _SHOWN))

    def _types(self, reader: Reader) -> None:
        # Only function types can be read past here, and a type of another form comes first where there is one.
        if reader.number() and reader.byte() in _OF_COLLECTOR:
            self.signs.add("collector")

    def _imports(self, reader: Reader) -> None:
        for _ in range(min(reader.number(), _MOST_NAMES)):
            module, name, kind = self._name(reader), self._name(reader), reader.byte()
            self.imports.append((module, name, _KINDS[kind] if kind < len(_KINDS) else "?"))
            if kind == 1:
                reader.skip(VALUE_TYPE)
                self._limits(reader)
            elif kind == 2:
                self._memory(reader)
            elif kind == 3:
                reader.skip(VALUE_TYPE)
                reader.byte()
            elif kind == 4:
                self.signs.add("exceptions")
                reader.byte()
                reader.number()
            else:
                reader.number()

    def _exports(self, reader: Reader) -> None:
        for _ in range(min(reader.number(), _MOST_NAMES)):
            name, kind = self._name(reader), reader.byte()
            reader.number()
            self.exports.append((name, _KINDS[kind] if kind < len(_KINDS) else "?"))

    def _memory_section(self, reader: Reader) -> None:
        for _ in range(min(reader.number(), _MOST_NAMES)):
            self._memory(reader)

    def _memory(self, reader: Reader) -> None:
        flags, minimum = self._limits(reader)
        self._memories += 1
        for is_so, sign in (
            (flags & 4, "memory64"),
            (flags & 2, "shared memory"),
            (self._memories > 1, "several memories"),
        ):
            if is_so:
                self.signs.add(sign)
        self.memory_pages = max(self.memory_pages or 0, minimum)

    def _limits(self, reader: Reader) -> tuple[int, int]:
        flags, minimum = reader.byte(), reader.number(10)
        if flags & 1:
            reader.number(10)
        if flags & 8:
            reader.number()
        return flags, minimum

    def look_at_signs(self, data: bytes) -> None:
        """Which tools left their mark, where they do not name themselves."""
        imports = {(module, name) for module, name, _ in self.imports}
        exports = {name for name, _ in self.exports}
        named = " ".join(self.tools)
        signs = (
            ("AssemblyScript", {"__new", "__pin"} <= exports or b"~\0l\0i\0b\0/\0" in data),
            ("TinyGo", any(name.startswith(("runtime.ticks", "runtime.sleepTicks")) for _, name in imports)),
            ("Go", "go:buildid" in self._customs or "go.buildid" in self._customs),
            ("wasm-bindgen", any(name.startswith("__wbindgen_") for name in exports)),
            ("Emscripten", "emscripten_metadata" in self._customs or "emscripten_stack_get_current" in exports
             or "_emscripten_stack_restore" in exports),
            ("Javy", "javy_source" in self._customs or any(module.startswith("javy") for module, _ in imports)),
            ("Extism PDK", any(module.startswith("extism:host/") for module, _ in imports)),
            ("Proxy-wasm SDK", any(name.startswith("proxy_abi_version_") for name in exports)),
            ("Rust", b"/rustc/" in data or b"library/alloc/src/" in data),
        )  # fmt: skip
        self.tools += [tool for tool, is_seen in signs if is_seen and tool not in named]
