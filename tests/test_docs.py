"""The documents are true: the reference is complete, links lead somewhere, and every block of code runs.

How blocks are written, so that they can be checked:

* ``python``: each is a program of its own. An expression with a comment that is a Python literal,
  ``1 + 1  # 2``, has that value; other comments are prose.
* ``console``: lines that start with ``$ `` are run by bash, what follows is what they print, standard
  error included. ``…`` stands for anything within a line, and alone on a line for any lines. Runs of
  spaces count as one.
* ``sh``: for a user to paste.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import json
import os
import re
import subprocess
import sys
import tokenize
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import pytest

import wasmrun
from wasmrun import cli, errors, limits
from wasmrun.base_executor import BaseExecutor
from wasmrun.bench.budget import EXIT_STATUS
from wasmrun.bench.samples import LOADS, PHASES, PLACES, STARTS, Load, Samples
from wasmrun.cli.commands import commands
from wasmrun.errors import OUTCOMES, WasmrunError
from wasmrun.settings import REQUIRED, Setting
from wasmrun.shelf import PoolStats
from wasmrun.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
REFERENCE = ROOT / "docs" / "reference.md"
DOCUMENTS = [
    README,
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(path for path in (ROOT / "guest_sdk").rglob("*.md") if "node_modules" not in path.parts),
    *sorted((ROOT / "benchmarks").glob("*.md")),
]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block of code, and where it is."""

    path: Path
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks(path: Path, language: str) -> list[Block]:
    """The blocks of one language in a document."""
    text = path.read_text()
    found = [Block(path, text.count("\n", 0, at.start()) + 2, *at.groups()) for at in _FENCE.finditer(text)]
    return [block for block in found if block.language == language]


def section(title: str) -> str:
    """What the reference has under a heading, up to the next one of its level or above."""
    text = REFERENCE.read_text()
    found = re.search(rf"^(#+) {re.escape(title)}\n", text, re.MULTILINE)
    assert found, f"the reference has no section {title!r}"
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def table(title: str) -> list[str]:
    """The rows of the first table in a section, as they stand, without its head."""
    lines = section(title).splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("|---"))
    rows = lines[first + 1 :]
    return rows[: next((at for at, line in enumerate(rows) if not line.startswith("|")), len(rows))]


def row(*cells: object) -> str:
    """A row of a table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def first_cells(title: str) -> list[str]:
    """What the first table in a section is about: the code in the first cell of each row."""
    found = (re.match(r"\| `([^`]+)`", line) for line in table(title))
    return [cell[1].replace("\\|", "|") for cell in found if cell]


# The command line


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that is no group, by the words that name it."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    with click.Context(command) as context:
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from walk(found, (*path, name))


COMMANDS = dict(walk(commands))


def test_reference_has_every_command() -> None:
    """Their arguments too, in the order of the help."""
    wanted = []
    for name, command in COMMANDS.items():
        with click.Context(command) as context:
            arguments = [item.make_metavar(context) for item in command.params if isinstance(item, click.Argument)]
        wanted.append(" ".join(["wasmrun", name, *arguments]))
    assert first_cells("Commands") == wanted


def option_rows() -> list[str]:
    """One row an option: flags and metavar, variable, commands, default, help."""
    found: dict[str, tuple[click.Option, list[str]]] = {}
    for name, command in COMMANDS.items():
        for option in command.params:
            if isinstance(option, click.Option):
                known, users = found.setdefault(option.opts[0], (option, []))
                assert (known.help, known.envvar, known.metavar) == (option.help, option.envvar, option.metavar)
                users.append(name)
    rows = []
    for option, users in found.values():
        flag, *others = option.opts
        metavar = option.metavar
        if isinstance(option.type, click.Choice):
            metavar = "|".join(option.type.choices)
        code = ", ".join(f"`{text}`" for text in (f"{flag} {metavar or ''}".rstrip(), *others))
        meaning, _, note = str(option.help).partition("  [")
        note = note.rstrip("]")
        default = note.removeprefix("default: ") if note.startswith("default: ") else ""
        if note and not default:
            meaning = f"{meaning} It {note}."
        if option.show_default:
            default = str(option.default)
        rows.append(row(code, f"`{option.envvar}`", ", ".join(users), default, meaning))
    return rows


def test_reference_has_every_option() -> None:
    """As the help has them, with their variables."""
    assert table("Options") == option_rows()


# Errors


def test_reference_has_the_table_of_errors() -> None:
    """Every row of `OUTCOMES`, with the first sentences of each class's docstring."""
    wanted = [
        row(
            f"`{cls.__name__}`",
            has.exit_status,
            f"`{has.lambda_type}`",
            has.http_status,
            inspect.getdoc(cls).split("\n")[0],
        )  # type: ignore[union-attr]
        for cls, has in OUTCOMES.items()
    ]
    assert table("Errors") == wanted


def test_reference_has_every_exception() -> None:
    """Those without a row of their own, too."""
    classes = {name for name, item in vars(errors).items() if isinstance(item, type) and issubclass(item, WasmrunError)}
    assert {name for name in classes if f"`{name}`" not in section("Errors")} == set()
    assert classes <= set(wasmrun.__all__)


def test_readme_and_reference_agree_on_exit_statuses() -> None:
    """Those that are no error's are in the reference, too."""
    for status in (0, 2, cli.INTERRUPTED):
        assert re.search(rf"\b{status}\b", section("Exit status"))


# Settings and values


def setting_rows(*owners: type) -> list[str]:
    """One row a setting: name, how it is written, default, meaning."""
    rows = []
    for owner in owners:
        for item in fields(owner):
            setting = next(cls.__dict__[item.name] for cls in owner.__mro__ if item.name in cls.__dict__)
            assert isinstance(setting, Setting)
            default = setting.default
            if default is REQUIRED:
                shown = "required"
            elif setting.metavar == "SIZE":
                shown = format_size(default).replace(" ", "")
            elif setting.metavar == "TIME":
                shown = f"{default:g}s"
            else:
                shown = repr(default).replace("'", '"')
            rows.append(row(f"`{item.name}`", f"`{shown}`" if shown != "required" else shown, setting.help))
    return rows


def test_reference_has_every_setting_of_a_function() -> None:
    """Name, default and meaning, as the dataclass has them."""
    assert sorted(table("Functions")) == sorted(setting_rows(wasmrun.Function))


def test_reference_has_every_limit_of_compiling() -> None:
    """As the dataclass has them."""
    assert table("CompileLimits") == setting_rows(wasmrun.CompileLimits)


def test_reference_names_the_stacks_and_the_fuel() -> None:
    """Figures that are not in a default."""
    text = section("Functions")
    assert all(format_size(stack).replace(" ", "") in text for stack in limits.STACKS)
    assert f"{limits.FUEL_PER_SECOND:,}" in text
    assert f"{limits.LEAST_FUEL:,}" in text


def test_reference_has_every_argument_of_an_executor() -> None:
    """With its default, in the order of the signature."""
    parameters = list(inspect.signature(wasmrun.Executor).parameters.values())
    found = [line.strip("| ").split(" | ")[:2] for line in table("Executor")]
    assert found == [[f"`{item.name}`", f"`{item.default!r}`"] for item in parameters]


def test_reference_has_every_method_of_an_executor() -> None:
    """With its parameters, but for what every call takes."""
    methods = [
        name
        for cls in (BaseExecutor, wasmrun.Executor)
        for name, item in vars(cls).items()
        if callable(item) and not name.startswith("_")
    ]
    found = first_cells("Methods")
    assert [cell.partition("(")[0] for cell in found] == methods
    for cell in found:
        name, _, arguments = cell.partition("(")
        signature = inspect.signature(getattr(wasmrun.Executor, name))
        keywords = {item.name for item in signature.parameters.values() if item.kind == item.KEYWORD_ONLY}
        named = set(re.findall(r"[*]?(\w+)", arguments))
        assert keywords - CALL_OPTIONS <= named, cell
        assert ("…" in arguments) == bool(keywords >= CALL_OPTIONS or "options" in signature.parameters), cell


CALL_OPTIONS = {"timeout", "tenant", "request_id", "client_context", "trace_id"}


def test_reference_has_every_option_of_a_call() -> None:
    """Of one event."""
    assert set(first_cells("Calls")) == CALL_OPTIONS
    parameters = inspect.signature(wasmrun.Executor.invoke).parameters.values()
    assert {item.name for item in parameters if item.kind == item.KEYWORD_ONLY} == CALL_OPTIONS


@pytest.mark.parametrize(
    "cls",
    [
        wasmrun.Report, wasmrun.Result, wasmrun.Context, wasmrun.Log, wasmrun.Loaded, wasmrun.Compiled,
        wasmrun.Inspection, wasmrun.Stats, wasmrun.Directory, wasmrun.HttpCall,
    ],
)  # fmt: skip
def test_reference_has_every_field_of_a_record(cls: Any) -> None:
    """In order, where a record has its table; else at least its name."""
    if cls is wasmrun.Report:
        assert first_cells("Report") == list(cls._fields)
        return
    text = next(line for line in section("Other values").splitlines() if line.startswith(f"| `{cls.__name__}` "))
    assert re.findall(r"`(\w+)`", text.split(" | ")[1]) == list(cls._fields)


def test_reference_has_every_counter() -> None:
    """Of the pool."""
    text = section("Other values")
    assert {name for name in PoolStats._fields if f"`{name}`" not in text} == set()


def test_reference_has_every_public_name() -> None:
    """What can be imported from wasmrun is written about."""
    text = REFERENCE.read_text()
    assert [name for name in wasmrun.__all__ if not re.search(rf"`(wasmrun\.)?{name}\b", text)] == []


@pytest.mark.parametrize(
    ("title", "lines"),
    [
        ("run", ["run hello.wasm --event 7", 'run hello.wasm --event {"name":"Ada"}']),
        (
            "bench",
            [
                "bench echo.wasm --duration 20ms --compare echo.wasm --budget warm.p50<9s",
                "bench echo.wasm --fuel-profile events --fuel-baseline less.json",
            ],
        ),
        ("profile", ["profile words.wasm --duration 300ms --output out --event @large"]),
        ("inspect", ["inspect echo.wasm"]),
        ("compile", ["compile echo.wasm"]),
        ("cache list", ["cache list"]),
        ("doctor", ["doctor"]),
        ("cache clear", ["cache clear --cache-dir other"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_reference_has_every_key_that_json_prints(
    title: str, lines: list[str], capfd: pytest.CaptureFixture[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a command prints with `--json`, nested objects included but for the report and a module's own names."""
    monkeypatch.chdir(place / "guest_sdk" / "c" / "examples")
    assert cli.status_of(["compile", "echo.wasm"]) == 0
    save_less_fuel(place / "less.json")
    (place / "large").write_text(json.dumps({"text": "some words " * 200_000}))
    capfd.readouterr()
    found: set[str] = set()
    for line in lines:
        words = [f"@{place / word[1:]}" if word == "@large" else word for word in line.split()]
        words = [str(place / word) if word in ("other", "out", "less.json") else word for word in words]
        cli.status_of([*words, "--json"])
        found |= set(keys(json.loads(capfd.readouterr().out)))
    (text,) = (line for line in table("JSON") if line.startswith(f"| `{title}` "))
    assert found == set(re.findall(r"`(\w+)`", text.split(" | ")[1]))


def save_less_fuel(path: Path) -> None:
    """A fuel profile in which the first event needed less than it does."""
    cli.status_of(["bench", "echo.wasm", "--fuel-profile", "events", "--save", str(path)])
    saved = json.loads(path.read_text())
    saved["events"][0]["fuel"] -= 1
    path.write_text(json.dumps(saved))


def keys(value: Any) -> Iterator[str]:
    """The keys of an object, and of the objects in it."""
    for key, item in value.items() if isinstance(value, dict) else ():
        yield key
        if key not in ("value", "report", "imports", "exports", "settings", "phases", "samples", "advice"):
            yield from keys(item[0] if isinstance(item, list) and item else item)


def test_benchmarking_has_every_figure() -> None:
    """Steps, starts and loads by name, and what is known of each."""
    text = (ROOT / "docs" / "benchmarking.md").read_text()
    one = Samples("open", (1,), load=Load(1, 1.0)).as_dict()
    names = {*PHASES, *STARTS, *LOADS, *PLACES, *one}
    assert {name for name in names if not re.search(rf"`(\w+\.)?{name}[`@.]", text)} == set()
    assert f"exit status is {EXIT_STATUS}" in text


def test_reference_has_every_command_that_prints_json() -> None:
    """And no other."""
    assert set(first_cells("JSON")) == {
        name for name, command in COMMANDS.items() if any(item.name == "as_json" for item in command.params)
    }


# Links


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_a_document_lead_somewhere(path: Path) -> None:
    """To a file that is there, and to a heading in it."""
    wrong = []
    for link in _LINK.findall(_FENCE.sub("", path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, made as GitHub makes them."""
    titles = _HEADING.findall(_FENCE.sub("", path.read_text()))
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_links_lead_to_every_document_in_docs() -> None:
    """From the README, so that all of them are found."""
    linked = set(_LINK.findall(README.read_text()))
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= {link.partition("#")[0] for link in linked}


# Blocks


@pytest.fixture(scope="module")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's cache directory."""
    return tmp_path_factory.mktemp("cache-home")


@pytest.fixture
def place(tmp_path: Path, cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that looks like the repository, for code that reads what it prints."""
    for name in ("guest_sdk", "benchmarks", "docs", "README.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name in os.environ:
        if name.startswith("WASMRUN_") or name == "COLUMNS":
            monkeypatch.delenv(name)
    return tmp_path


class _Checks(ast.NodeTransformer):
    """Passes the value of every expression statement that has a literal beside it to `check`."""

    def __init__(self, expected: dict[int, str]) -> None:
        self.expected = expected
        self.used: set[int] = set()

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        line = node.end_lineno or 0
        if line not in self.expected:
            return node
        self.used.add(line)
        call = ast.parse(f"check({line}, None)").body[0]
        assert isinstance(call, ast.Expr)
        assert isinstance(call.value, ast.Call)
        call.value.args[1] = node.value
        return ast.fix_missing_locations(ast.copy_location(call, node))


def literals(code: str) -> dict[int, str]:
    """The comments that are Python literals, by line."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            text = token.string[1:].strip()
            try:
                ast.literal_eval(text)
            except (ValueError, SyntaxError):
                continue
            found[token.start[0]] = text
    return found


def run_python(code: str) -> int:
    """Run a block, with its values checked; how many were."""
    expected = literals(code)
    checks = _Checks(expected)
    tree = checks.visit(ast.parse(code))
    assert checks.used == set(expected), f"beside no expression: {[expected[at] for at in set(expected) - checks.used]}"
    seen = set()

    def check(line: int, value: object) -> None:
        seen.add(line)
        assert repr(value) == repr(ast.literal_eval(expected[line])), f"line {line}"

    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    namespace = {"__name__": "__main__", "check": check}
    running = eval(compile(tree, "block", "exec", flags), namespace)
    if inspect.iscoroutine(running):
        asyncio.run(running)
    assert seen == set(expected), f"never reached: {[expected[at] for at in set(expected) - seen]}"
    return len(seen)


PYTHON = [block for path in (README, *sorted((ROOT / "docs").glob("*.md"))) for block in blocks(path, "python")]


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_block_does_what_it_shows(block: Block, place: Path) -> None:
    """It runs, and every value that it shows is the one that it has."""
    run_python(block.code)


def test_python_blocks_show_values() -> None:
    """In the README, so that the check above has something to check; each imports what it uses."""
    shown = [literals(block.code) for block in blocks(README, "python")]
    assert shown
    assert all(shown)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("1 + 1  # 3", "line 1"),
        ("x = 1  # 1", "beside no expression"),
        ("if False:\n    1  # 1", "never reached"),
        ("1 == 1  # 1", "line 1"),
    ],
)
def test_python_block_that_is_wrong_is_found(code: str, error: str) -> None:
    """The check itself: a wrong value, one beside nothing, one that is never had, one of another type."""
    with pytest.raises(AssertionError, match=error):
        run_python(code)
    assert run_python("import math\nasync def f():\n    return [math.pi > 3]\nawait f()  # [True]\n2  # two") == 1


def sessions(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, and what each is to print."""
    parts = re.split(r"^\$ (.+)\n", block.code, flags=re.MULTILINE)
    assert parts[0] == "", f"{block}: it starts with no command"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def matches(expected: str, printed: str) -> bool:
    """Whether *printed* is what a console block shows."""
    pattern = ""
    for line in expected.splitlines():
        if line.strip() in ("…", "..."):
            pattern += r"(?:.*\n)*"
        else:
            words = r"[^\S\n]+".join(re.escape(word).replace("…", ".*") for word in line.split())
            pattern += rf"[^\S\n]*{words}[^\S\n]*\n"
    return re.fullmatch(pattern, printed if printed.endswith("\n") or not printed else printed + "\n") is not None


CONSOLE = [block for path in (README, *sorted((ROOT / "docs").glob("*.md"))) for block in blocks(path, "console")]


@pytest.mark.parametrize("block", CONSOLE, ids=str)
def test_console_block_prints_what_it_shows(block: Block, place: Path) -> None:
    """Each of its commands, in order."""
    for command, expected in sessions(block):
        printed = shell(command)
        assert matches(expected, printed), f"$ {command}\n{printed}"


def shell(command: str) -> str:
    """What a command prints, on both streams."""
    done = subprocess.run(
        ["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a … c\n", "a b  c\n", True),
        ("a … c\n", "a\nb\nc\n", False),
        ("a\n…\nc\n", "a\nc\n", True),
        ("a\n…\nc\n", "a\nb\nb\nc\n", True),
        ("a\n", "a\nb\n", False),
        ("a\nb\n", "a\n", False),
        ("a.c\n", "abc\n", False),
        ("a   b\n", "a\tb\n", True),
        ("", "", True),
        ("", "a\n", False),
    ],
)
def test_console_block_that_is_wrong_is_found(expected: str, printed: str, same: bool) -> None:
    """The check itself."""
    assert matches(expected, printed) == same


@pytest.mark.parametrize("block", blocks(README, "c"), ids=str)
def test_c_block_is_the_file_that_it_shows(block: Block) -> None:
    """Word for word, as it is in an example."""
    files = (ROOT / "guest_sdk" / "c" / "examples").glob("*.c")
    assert any(block.code.strip() in path.read_text() for path in files)


# What a fresh clone is told to do


def test_sh_blocks_begin_with_two_lines_that_do_everything() -> None:
    """One physical line each, and nothing before them that would have to be done first."""
    first, second = (block.code for block in blocks(README, "sh")[:2])
    for code in (first, second):
        assert code.count("\n") == 1
        assert code.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert " && .venv/bin/wasmrun run " in first
    assert " && .venv/bin/pytest" in second
    assert "[test]" in second


def test_the_first_sh_block_shows_an_answer(place: Path) -> None:
    """Its last command, with the wasmrun that is here: one line of JSON on standard output."""
    command = blocks(README, "sh")[0].code.rpartition(" && .venv/bin/")[2]
    done = subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)
    assert "\tStatus: success\t" in done.stderr


def test_ci_runs_the_second_sh_block_and_nothing_else_of_weight() -> None:
    """As `.ci/run` itself finds it."""
    script = (ROOT / ".ci" / "run").read_text()
    (find,) = re.findall(r"^command=\$\(.*\)$", script, re.MULTILINE)
    found = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'{find}\nprintf %s "$command"'],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert f"{found}\n" == blocks(README, "sh")[1].code
    assert '\nbash -c "$command"\n' in script
    others = [line for line in script.partition('bash -c "$command"')[2].splitlines() if line and line[0] != "#"]
    assert {line.split()[0] for line in others} == {"WASMRUN_HOTPATH=ctypes", ".venv/bin/ruff", ".venv/bin/mypy"}
