"""Plots: a picture of what was measured, whatever functions are called."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from bench_kit import samples

from wasmrun.bench import plot
from wasmrun.bench.plot import CannotPlot, check_plot, draw_plot

if TYPE_CHECKING:
    from bench_kit import Make

needs_matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason=f"matplotlib is not installed: {plot.INSTALL}"
)


@needs_matplotlib
@pytest.mark.parametrize(("path", "start"), [("x.svg", b"<?xml"), ("x.PNG", b"\x89PNG")])
def test_plot_is_what_its_name_says(path: str, start: bytes, measured: Make) -> None:
    """By the ending."""
    check_plot(path)
    assert draw_plot(path, [measured(cold=30, warm=10, store=3, instantiate=2, init=1)]).startswith(start)


@needs_matplotlib
def test_plot_has_every_start_and_every_function(measured: Make) -> None:
    """As text in the picture, and as one curve each; the same samples give the same picture."""
    found = [measured("one", cold=30, warm=10, store=3, init=5), measured("two", snapshot=20, reused=2)]
    data = draw_plot("x.svg", found)
    assert data == draw_plot("x.svg", found)
    texts = {text for node in ET.fromstring(data).iter() if (text := (node.text or "").strip())}
    assert {"one, cold", "one, warm", "two, snapshot", "two, reused", "one", "two", "store", "init"} <= texts


@needs_matplotlib
@pytest.mark.parametrize("count", [1, 4])
def test_plot_has_no_two_curves_that_look_alike(count: int, measured: Make) -> None:
    """By colour, dash or width; more of them than there are colours."""
    kinds = {"cold": 30, "snapshot": 20, "warm": 10, "reused": 2}
    others = [samples(name, micros, place="processes") for name, micros in kinds.items()]
    found = [measured(f"f{number}", **kinds) for number in range(count)]
    for one in found:
        one.samples.update((other.key, other) for other in others)
    styles = {
        tuple(sorted(part.strip() for part in style.split(";") if "stroke" in part))
        for node in ET.fromstring(draw_plot("x.svg", found)).iter("{http://www.w3.org/2000/svg}path")
        if "stroke-width: 1.5" in (style := node.get("style", "")) or "stroke-width: 3" in style
    }
    assert len(styles) == count * 2 * len(kinds)


@needs_matplotlib
def test_plot_names_paths_by_where_they_differ(measured: Make) -> None:
    """What all have in common tells nothing; a name is no path."""
    found = [measured(name, cold=30) for name in ("/long/way/one/f.wasm", "/long/way/two/f.wasm", "g")]
    texts = {(node.text or "").strip() for node in ET.fromstring(draw_plot("x.svg", found)).iter()}
    assert {"one/f.wasm, cold", "two/f.wasm, cold", "g, cold"} <= texts


@needs_matplotlib
@pytest.mark.parametrize("name", ["_hidden", "$x^{", "<b>&amp;", "\\frac", "a" * 300, "\x1b[31m", "日本", "$", "%s{}"])
def test_plot_takes_any_name(name: str, measured: Make) -> None:
    """A name is a name, and no formula, no markup."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # fonts are the machine's
        ET.fromstring(draw_plot("x.svg", [measured(name, cold=30, warm=10, store=3)]))


@needs_matplotlib
def test_plot_of_next_to_nothing_is_a_plot(measured: Make) -> None:
    """No start, no step."""
    assert draw_plot("x.svg", [measured("f")])


def test_plot_of_another_kind_is_refused() -> None:
    """Before anything is measured."""
    for path in ("x.pdf", "x", ".svg", "svg"):
        with pytest.raises(CannotPlot, match=r"should end in \.svg or \.png"):
            check_plot(path)


def test_plot_without_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command, as it is to be typed."""
    monkeypatch.setattr("wasmrun.bench.plot.importlib.util.find_spec", lambda name: None)
    with pytest.raises(CannotPlot, match=r"run: pip install 'wasmrun\[plot\]'"):
        check_plot("x.svg")
