"""Drawings: figures of one unit as dots with their spread, in SVG. The same figures give the same picture."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from .figures import Figure
from .report import number

_ROW, _TOP, _BOTTOM, _WIDE, _RIGHT = 22, 34, 30, 420, 90
_LETTER = 6.8
"""Pixels that a letter takes on the average, at the size that is used."""
_LOGARITHMIC_FROM = 20
"""Highest ÷ lowest from which on the scale is one of ratios."""

_MOST_LABELS = 6


def drawable(figures: Sequence[Figure]) -> dict[str, list[Figure]]:
    """What a picture can show, by unit: costs, two at least of each unit. Ratios and differences stand in the table."""
    units: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.unit != "×" and " − " not in figure.name and figure.low > 0:
            units.setdefault(figure.unit, []).append(figure)
    return {unit: found for unit, found in units.items() if len(found) > 1}


def draw(title: str, units: dict[str, list[Figure]]) -> str:
    """A panel for each unit, one below the other."""
    left = 20 + round(_LETTER * max(len(figure.name) for figures in units.values() for figure in figures))
    parts: list[str] = []
    height = 0
    for unit, figures in units.items():
        parts.append(f'<g transform="translate(0 {height})">{_panel(unit, figures, left)}</g>')
        height += _TOP + _ROW * len(figures) + _BOTTOM
    width = left + _WIDE + _RIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12" fill="#222">\n<title>{escape(title)}</title>\n'
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(unit: str, figures: Sequence[Figure], left: int) -> str:
    lowest, highest = min(figure.low for figure in figures), max(figure.high for figure in figures)
    is_logarithmic = highest / lowest >= _LOGARITHMIC_FROM
    ticks = _decades(lowest, highest) if is_logarithmic else _steps(highest)
    first, last = ticks[0], ticks[-1]

    def x(value: float) -> str:
        share = math.log(value / first) / math.log(last / first) if is_logarithmic else (value - first) / (last - first)
        return f"{left + share * _WIDE:.1f}"

    bottom = _TOP + _ROW * len(figures)
    scale = ", each line ten times the one before" if is_logarithmic else ""
    parts = [f'<text x="{left}" y="18" font-weight="bold">{escape(unit)}{scale}</text>']
    for place, tick in enumerate(ticks):
        parts.append(f'<path d="M{x(tick)} {_TOP - 6}V{bottom}" stroke="#ccc"/>')
        if not place % math.ceil(len(ticks) / _MOST_LABELS):
            parts.append(f'<text x="{x(tick)}" y="{bottom + 16}" text-anchor="middle">{number(tick)}</text>')
    for row, figure in enumerate(figures):
        y = _TOP + _ROW * row + _ROW // 2
        parts.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{escape(figure.name)}</text>')
        parts.append(f'<path d="M{x(figure.low)} {y}H{x(figure.high)}" stroke="#7aa6d8" stroke-width="5"/>')
        parts.append(f'<circle cx="{x(figure.median)}" cy="{y}" r="5" fill="#1f5fa8"/>')
        parts.append(f'<text x="{left + _WIDE + 14}" y="{y + 4}">{number(figure.median)}</text>')
    return "\n".join(parts)


def _decades(lowest: float, highest: float) -> list[float]:
    first, last = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def _steps(highest: float) -> list[float]:
    """0 and up to five round steps, the last of which is not below *highest*."""
    power = 10.0 ** math.floor(math.log10(highest / 5))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 5 >= highest)
    return [step * count for count in range(math.ceil(highest / step - 1e-9) + 1)]
