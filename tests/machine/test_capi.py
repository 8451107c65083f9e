"""The binding finds the one library it is written for, or says what to do."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

import wasmrun
from wasmrun.errors import HostError
from wasmrun.machine import capi


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which packages are installed, the only one that is looked through."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def install(site: Path, version: str) -> None:
    (site / "wasmtime").mkdir()
    (site / "wasmtime" / "__init__.py").touch()
    (site / f"wasmtime-{version}.dist-info").mkdir()


def test_library_is_the_installed_wheels() -> None:
    """Found without importing the wheel's Python package."""
    path = Path(capi.find_library())
    assert path.is_file()
    assert path.parent.parent.name == "wasmtime"
    assert str(path) == capi.LIBRARY_PATH


def test_library_that_is_not_installed_is_an_error_that_says_how_to_install_it(site: Path) -> None:
    """The command can be copied."""
    with pytest.raises(HostError, match=r"not installed; run: pip install 'wasmtime==50\.\*'"):
        capi.find_library()


def test_library_of_a_module_that_is_no_package_is_not_taken(site: Path) -> None:
    """A file called wasmtime.py is not the wheel."""
    (site / "wasmtime.py").touch()
    with pytest.raises(HostError, match="not installed"):
        capi.find_library()


@pytest.mark.parametrize("version", ["49.0.0", "51.0.0", "5.0.1", "500.0.0"])
def test_library_of_another_major_version_is_refused_with_the_remedy(site: Path, version: str) -> None:
    """Its structs may be laid out differently: that would be a crash, not an error."""
    install(site, version)
    with pytest.raises(HostError, match=rf"wasmtime {version} is installed.*works with 50\.x; run: pip install"):
        capi.find_library()


@pytest.mark.parametrize(
    "names",
    [["wasmtime-50.0.1.dist-info"], ["wasmtime-50.9.dist-info", "x-1.dist-info"], ["wasmtime-1.txt"], []],
    ids=str,
)
def test_version_check_takes_the_supported_major_and_what_does_not_say(tmp_path: Path, names: list[str]) -> None:
    """Every 50.x; a library that was put there without a wheel is the user's own business."""
    for name in names:
        (tmp_path / name).mkdir()
    capi.check_version(str(tmp_path))


def test_library_for_another_machine_is_an_error_with_its_path(site: Path) -> None:
    """A wheel of the right version, without the file."""
    install(site, "50.0.1")
    with pytest.raises(
        HostError, match=rf"no library for this machine: {site}/wasmtime/linux-.*_libwasmtime.so does not"
    ):
        capi.find_library()


def test_library_is_refused_on_another_system(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No deadline would come there, so nothing may run."""
    install(site, "50.0.1")
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(
        HostError, match="wasmrun needs Linux: its deadlines use POSIX timers, which darwin does not have"
    ):
        capi.find_library()


def test_import_without_the_library_is_the_error_and_no_crash() -> None:
    """What a user sees who installed the package without what it depends on."""
    package = os.path.dirname(os.path.dirname(str(wasmrun.__file__)))
    program = (
        f"import sys; sys.path.insert(0, {package!r})\n"
        "import wasmrun\n"
        "try: wasmrun.Executor\n"
        "except wasmrun.HostError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "the wasmtime package is not installed; run: pip install 'wasmtime==50.*'\n"


def test_layout_of_the_structs_is_the_librarys() -> None:
    """Sizes that facts/engine.md gives, and the offsets that the record of an instance relies on."""
    capi.check_layout()
    assert [ctypes.sizeof(struct) for struct in (capi.Func, capi.Memory, capi.Extern, capi.ValRaw)] == [16, 24, 32, 16]
    assert capi.Extern.of.offset == 8
    assert capi.Limits.max.offset == 4


def test_layout_that_differs_is_an_error_with_the_remedy() -> None:
    """Both sizes, and what to use instead."""
    with pytest.raises(HostError, match=r"Memory is 24 bytes here, 23 in wasmtime.*use a 64-bit Python"):
        capi.check_layout(((capi.Func, 16), (capi.Memory, 23)))


def test_error_text_is_taken_and_cut() -> None:
    """Also where a guest's names have made it long, or the cut falls into a letter."""
    assert capi.take_error(capi.error_new(b"bad")) == "bad"
    assert capi.take_error(capi.error_new("ä".encode() * 5000), 3) == "ä\N{REPLACEMENT CHARACTER}"
    assert capi.take_error(capi.error_new(b"")) == ""


def test_call_keeps_no_prototypes_of_the_wheels_package() -> None:
    """The binding's own function objects: what the wheel's package declares does not change them, nor they it."""
    shared = capi.quick.wasmtime_store_new
    assert shared is not capi.store_new
    assert shared.argtypes is None
