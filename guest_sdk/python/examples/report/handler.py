"""A report on a table: CSV in, and for each group the number of its rows with sum, mean and median of a column."""

import csv
import io
import statistics
from decimal import Decimal, InvalidOperation

from wasmrun import Context, Fail


def handle(event: dict, context: Context) -> dict:
    table, group, value = (_text(event, key) for key in ("csv", "group", "value"))
    groups: dict[str, list[Decimal]] = {}
    try:
        rows = csv.DictReader(io.StringIO(table), strict=True)
        for name in (group, value):
            if name not in (rows.fieldnames or ()):
                raise Fail("InvalidTable", f"the table has no column {name!r}")
        for row in rows:
            groups.setdefault(row[group] or "", []).append(_number(row[value], rows.line_num))
    except csv.Error as error:
        raise Fail("InvalidTable", f"after line {rows.line_num}: {error}") from error
    return {"rows": sum(map(len, groups.values())), "groups": [_summary(*item) for item in sorted(groups.items())]}


def _text(event: dict, key: str) -> str:
    if not isinstance(event, dict) or not isinstance(event.get(key), str):
        raise Fail("InvalidEvent", f'the event needs a string "{key}"')
    return event[key]


def _number(text: str | None, line: int) -> Decimal:
    try:
        number = Decimal((text or "").strip())
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or abs(number.adjusted()) > 30:
        raise Fail("InvalidTable", f"line {line}: {text!r} is no number")
    return number


def _summary(name: str, numbers: list[Decimal]) -> dict:
    mean = sum(numbers) / len(numbers)
    return {
        "name": name,
        "count": len(numbers),
        "sum": str(sum(numbers)),
        "mean": str(round(mean, 2)),
        "median": str(statistics.median(numbers)),
    }
