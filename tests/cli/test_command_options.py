"""Options: each from a flag or from its variable, each named when it is wrong, each doing what it says."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click
import programs
import pytest

from wasmrun import cli
from wasmrun.cli.commands import commands
from wasmrun.function import Grants
from wasmrun.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Run

    Save = Callable[..., Path]


def _walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                yield from _walk(found, (*path, name))


COMMANDS = dict(_walk(commands))
OPTIONS = [
    (path, option)
    for path, command in COMMANDS.items()
    for option in command.params
    if isinstance(option, click.Option) and option.name != "version"
]

SAMPLES = {
    "--abi": "plain",
    "--cache-dir": "elsewhere",
    "--budget": "warm.p99<7s",
    "--cold": "7",
    "--compare": "other.json",
    "--concurrency": "7",
    "--duration": "7s",
    "--plot": "other.svg",
    "--processes": "1",
    "--rate": "7",
    "--save": "other.json",
    "--dir": "/tmp::/t:ro",
    "--entry": "other",
    "--env": "A=1",
    "--event": "[7]",
    "--config": "A=b",
    "--event-bytes": "7KiB",
    "--fuel": "7000",
    "--fuel-baseline": "other.json",
    "--fuel-profile": "other.jsonl",
    "--http": "GET a.test",
    "--http-bytes": "7KiB",
    "--http-network": "10.0.0.0/8",
    "--http-requests": "7",
    "--init-timeout": "7s",
    "--interval": "7ms",
    "--json": "1",
    "--lang": "c",
    "--log-bytes": "7KiB",
    "--manifest": "other.json",
    "--memory": "7MiB",
    "--module-bytes": "7KiB",
    "--output": "other.wasm",
    "--raw": "1",
    "--report": "json",
    "--result-bytes": "7KiB",
    "--snapshot": "1",
    "--stack": "128KiB",
    "--table-elements": "7",
    "--timeout": "700ms",
    "--warm": "7",
    "--var-bytes": "7KiB",
    "--watch": "1",
}
"""A value for every option that is not its default."""


def label(value: object) -> str:
    """A name for a parameter of these tests."""
    return value.opts[0] if isinstance(value, click.Option) else " ".join(value) or "wasmrun"  # type: ignore[arg-type]


def parse(path: tuple[str, ...], *args: str) -> dict[str, Any]:
    """What a command line would give to its command."""
    needed = ["x.wasm"] if any(isinstance(item, click.Argument) for item in COMMANDS[path].params) else []
    # With a parent as they have it: a command remembers the help option that its first context asked for.
    parent = click.Context(commands, **commands.context_settings)
    return COMMANDS[path].make_context("test", [*needed, *args], parent=parent).params


@pytest.mark.parametrize(("path", "option"), OPTIONS, ids=label)
def test_an_option_can_come_from_its_variable(
    path: tuple[str, ...], option: click.Option, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WASMRUN_ and the flag's name; the flag wins where both are given."""
    flag = option.opts[0]
    given = [flag] if option.is_flag else [flag, SAMPLES[flag]]
    assert option.help
    default, wanted = parse(path), parse(path, *given)
    # The directory of the cache comes from this session's variable.
    assert default[str(option.name)] != wanted[str(option.name)]
    monkeypatch.setenv("WASMRUN_" + flag.removeprefix("--").upper().replace("-", "_"), SAMPLES[flag])
    assert parse(path) == wanted
    if not option.is_flag:
        monkeypatch.setenv(str(option.envvar), "nonsense")
        assert parse(path, *given) == wanted


def test_an_option_is_there_for_every_limit_and_grant() -> None:
    """Derived from the dataclasses; host functions and secrets are not for a shell."""
    flags = {option.opts[0] for path, option in OPTIONS if path == ("run",)}
    names = {item.name for cls in (Limits, Grants) for item in fields(cls)}
    names -= {"imports", "dirs", "http_networks", "http_secrets"}
    more = {"--dir", "--http-network", "--entry", "--abi", "--raw"}
    assert {"--" + name.replace("_", "-") for name in names} | more <= flags


@pytest.mark.parametrize("path", [("bench",), ("inspect",), ("compile",)], ids=label)
def test_an_option_that_describes_a_function_is_the_same_for_every_command(path: tuple[str, ...]) -> None:
    """Flags, metavars and help do not differ from those of `run`."""

    def shown(path: tuple[str, ...]) -> dict[str, tuple[object, ...]]:
        options = [option for where, option in OPTIONS if where == path]
        return {option.opts[0]: (option.metavar, option.help, option.default) for option in options}

    run = {flag: rest for flag, rest in shown(("run",)).items() if flag not in ("--event", "--manifest", "--report")}
    assert shown(path) | run == shown(path)


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("--memory", "lots", "'lots' is not a size"),
        ("--memory", "5GiB", "must be at most 4294967296 bytes"),
        ("--timeout", "soon", "'soon' is not a duration"),
        ("--timeout", "0", "must be more than 0 seconds"),
        ("--init-timeout", "-1s", "'-1s' is not a duration"),
        ("--fuel", "much", "must be a whole number"),
        ("--fuel", "0", "must be a whole number above 0, or none"),
        ("--stack", "2MiB", "must be at most 1 MiB"),
        ("--table-elements", "20001", "must be at most 20000"),
        ("--event-bytes", "x", "'x' is not a size"),
        ("--result-bytes", "x", "'x' is not a size"),
        ("--log-bytes", "x", "'x' is not a size"),
        ("--module-bytes", "7", "must be at least 8 bytes"),
        ("--env", "NAME", "'NAME' is not an environment variable; write NAME=VALUE"),
        ("--env", "=x", "''='x' is not an environment variable"),
        ("--dir", "/tmp", "'/tmp' is not a directory grant; write HOST::GUEST or HOST::GUEST:ro"),
        ("--entry", "", "must be 1 to 256 printable characters"),
        ("--event", "@gone.json", "gone.json cannot be read: No such file or directory"),
        ("--abi", "other", "'other' is not one of"),
        ("--report", "other", "'other' is not one of"),
    ],
)
def test_an_option_that_is_wrong_is_named(flag: str, value: str, reason: str, run: Run) -> None:
    """A usage error: exit status 2, the option, what was given or is allowed, and where to look."""
    done = run("run", programs.ECHO, flag, value)
    assert (done.status, done.output) == (2, b"")
    usage, hint, _, error = done.err.rstrip("\n").split("\n", 3)
    assert usage.startswith("Usage: wasmrun run [OPTIONS] MODULE")
    assert hint == "Try 'wasmrun run --help' for help."
    assert error.startswith("Error: ")
    assert flag in error
    assert reason in error


def test_an_option_that_is_wrong_in_its_variable_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its flag, which is how the reference has it."""
    monkeypatch.setenv("WASMRUN_MEMORY", "lots")
    done = run("run", programs.ECHO)
    assert done.status == 2
    assert "Error: --memory: 'lots' is not a size" in done.err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("rnu",), "No such command 'rnu'"),
        (("run",), "Missing argument 'MODULE'"),
        (("run", "x.wasm", "--memroy", "1"), "--memroy"),
        (("run", "x.wasm", "--memory"), "--memory"),
        (("bench",), "Missing argument 'MODULE'"),
        (("bench", "x.wasm", "--cold", "0"), "'--cold': 0 is not in the range"),
        (("inspect",), "Missing argument 'MODULE'"),
        (("compile", "a.wasm", "b.wasm"), "unexpected extra argument"),
        (("cache", "shrink"), "No such command 'shrink'"),
        (("completion", "csh"), "'csh' is not one of 'bash', 'zsh', 'fish'"),
        (("--timeout", "1s"), "--timeout"),
    ],
    ids=" ".join,
)
def test_an_unknown_word_is_a_usage_error(args: tuple[str, ...], says: str, run: Run) -> None:
    """Exit status 2, nothing on standard output, and the word."""
    done = run(*args)
    assert (done.status, done.output) == (2, b"")
    assert done.err.startswith(("Usage: wasmrun ", "Error: "))
    assert says in done.err


def test_no_command_shows_what_there_is(run: Run) -> None:
    """As usage, so on standard error."""
    done = run()
    assert (done.status, done.output) == (2, b"")
    assert all(f"\n  {path[0]} " in done.err for path in COMMANDS if len(path) == 1)


@pytest.mark.parametrize("path", COMMANDS, ids=label)
def test_help_of_a_command_shows_all_of_it(path: tuple[str, ...], run: Run) -> None:
    """Every option, within 80 columns, with nothing cut; `-h` is the same."""
    done = run(*path, "--help")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(" ".join(["Usage: wasmrun", *path]))
    assert max(map(len, done.out.splitlines())) <= 80
    assert "..." not in done.out.replace("MODULE...", "").replace("ARGS...", "").replace("[ARGS]...", "")
    flags = set(re.findall(r"(?<![\w-])--[a-z-]+", done.out))
    assert {option.opts[0] for where, option in OPTIONS if where == path} <= flags
    assert run(*path, "-h") == done


def test_help_lists_every_exit_status(run: Run) -> None:
    """The table in short."""
    from wasmrun.errors import OUTCOMES

    text = " ".join(run("--help").out.split()).partition("Exit status: ")[2].partition(". ")[0]
    shown = {int(number) for number in re.findall(r"\d+", text)}
    # No command names a published function yet, so none is ever missing.
    assert shown == {0, cli.INTERRUPTED, *(row.exit_status for row in OUTCOMES.values())} - {4}


def test_version_names_wasmrun_and_the_engine(run: Run) -> None:
    """Both are needed to report a bug."""
    import wasmrun
    from wasmrun.machine import capi

    done = run("--version")
    assert (done.status, done.err) == (0, "")
    assert done.out == f"wasmrun {wasmrun.__version__} (wasmtime {capi.SUPPORTED_MAJOR}: {capi.LIBRARY_PATH})\n"


# What some of them do, seen by a guest


def test_args_reach_a_command_after_its_name(run: Run, save: Save) -> None:
    """After `--`, options too."""
    done = run("run", save(programs.ARGS, "tool.wat"), "--report", "none", "--", "one", "--event", "two words", "")
    assert done.out.split("\0") == ["tool", "one", "--event", "two words", "", ""]


def test_env_is_all_that_a_command_sees_of_the_environment(
    run: Run, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing by default; what is granted, in order, values with anything in them."""
    guest = save(programs.ENV)
    monkeypatch.setenv("SECRET", "x")
    assert run("run", guest, "--report", "none") == (0, b"", "")
    done = run("run", guest, "--env", "A=1", "--env", "GREETING=hello = world", "--env", "EMPTY=")
    assert done.out == "A=1\0GREETING=hello = world\0EMPTY=\0"


def test_env_from_a_variable_is_a_line_each(run: Run, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several, where a flag would be repeated; a value may have spaces in it. Empty lines do not count."""
    guest = save(programs.ENV)
    monkeypatch.setenv("WASMRUN_ENV", "GREETING=hello = world")
    assert run("run", guest).out == "GREETING=hello = world\0"
    monkeypatch.setenv("WASMRUN_ENV", "\nA=1 2\n\n B=\n")
    assert run("run", guest).out == "A=1 2\0 B=\0"


def test_dir_from_a_variable_is_a_line_each(
    run: Run, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of directories have spaces, and any other separator."""
    place = tmp_path / "one: two, three"
    place.mkdir()
    (place / "file").write_bytes(b"text of the host")
    monkeypatch.setenv("WASMRUN_DIR", f"{place}::/data\n{tmp_path}::/other")
    assert run("run", save(programs.READ_FILE)).out == "text of the host"


def test_dir_lets_a_command_read(run: Run, save: Save, tmp_path: Path) -> None:
    """What is in the directory, and without the grant nothing at all."""
    (tmp_path / "file").write_bytes(b"text of the host")
    guest = save(programs.READ_FILE)
    assert run("run", guest, "--dir", f"{tmp_path}::/data").out == "text of the host"
    assert run("run", guest, "--dir", f"{tmp_path}::/data:ro").out == "text of the host"
    done = run("run", guest)
    assert (done.status, done.output) == (11, b"")


def test_dir_lets_a_command_write_unless_it_is_read_only(run: Run, save: Save, tmp_path: Path) -> None:
    """`:ro` leaves the directory as it is."""
    target = tmp_path / "target"
    target.mkdir()
    guest = save(programs.WRITE_FILE)
    assert run("run", guest, "--dir", f"{target}::/data:ro").status == 11
    assert list(target.iterdir()) == []
    assert run("run", guest, "--dir", f"{target}::/data").status == 0
    assert (target / "file").read_text() == "file"


def test_dir_that_is_not_there_is_named(run: Run, save: Save) -> None:
    """No guest runs without what it was promised."""
    done = run("run", save(programs.READ_FILE), "--dir", "/nowhere::/data")
    assert done.status not in (0, 1)
    assert done.output == b""
    assert "/nowhere" in done.err


def test_entry_names_the_export_to_call(run: Run, save: Save) -> None:
    """One of several; without it, the message lists them."""
    guest = save(
        '(module (func (export "one") (result i32) (i32.const 1)) (func (export "two") (result i32) (i32.const 2)))'
    )
    assert run("run", guest, "--entry", "two").out == "2\n"
    done = run("run", guest)
    assert done.status == 3
    assert "functions of numbers are one, two: name one with --entry" in done.err
    assert "functions of numbers are one, two" in run("run", guest, "--entry", "three").err


def test_abi_overrides_what_was_detected(run: Run, save: Save) -> None:
    """A module with `_start` that is called as a function of numbers."""
    guest = save('(module (func (export "_start")) (func (export "f") (result i32) (i32.const 5)))')
    assert run("run", guest).output == b""
    assert run("run", guest, "--abi", "plain", "--entry", "f").out == "5\n"


def test_fuel_none_runs_without_counting(run: Run, save: Save) -> None:
    """The report has no fuel then, and the timeout still holds."""
    done = run("run", save(programs.ADD), "--event", "[1, 2]", "--fuel", "none", "--json")
    assert done.json["report"]["fuel_used"] is None
    assert run("run", save(programs.SPIN), "--fuel", "none", "--timeout", "50ms").status == 13


def test_memory_is_the_limit_of_the_report(run: Run) -> None:
    """And in bytes whatever the unit was."""
    assert run("run", programs.ECHO, "--memory", "7MB", "--json").json["report"]["memory_limit_bytes"] == 7_000_000
    assert run("run", programs.ECHO, "--memory", "1KiB").status == 3


def test_log_bytes_cuts_the_log(run: Run, save: Save) -> None:
    """With a mark that says so."""
    done = run("run", save(programs.prints(b"x" * 500, fd=2)), "--log-bytes", "100", "--report", "none")
    assert done.err == f"INFO  {'x' * 84}\nWARN  [the log is cut here: it reached its limit]\n"


def test_module_bytes_refuses_a_large_module(run: Run) -> None:
    """Before a compiler sees it."""
    done = run("run", programs.ECHO, "--module-bytes", "100")
    assert done.status == 3
    assert "raise `module_bytes`" in done.err


def test_init_timeout_ends_a_start_up_that_loops(run: Run, save: Save) -> None:
    """With an allowance of its own."""
    guest = save('(module (func $spin (loop br 0)) (start $spin) (func (export "f")))')
    done = run("run", guest, "--init-timeout", "50ms")
    assert done.status == 13
    assert "raise `init_timeout`" in done.err
