"""Comparison, budgets and advice: what is concluded from figures."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from bench_kit import samples

from wasmrun.bench.advice import advise
from wasmrun.bench.budget import check, parse_budget
from wasmrun.bench.comparison import NO_DIFFERENCE, TOO_FEW, UNSURE, compare
from wasmrun.bench.samples import Load, Measured, Samples

if TYPE_CHECKING:
    from bench_kit import Make


def drawn(seed: int, scale: float, count: int = 1_000) -> Measured:
    """Warm starts around *scale* microseconds, with the outliers that a machine has."""
    draw = random.Random(seed)
    values = (draw.lognormvariate(0, 0.2) * (40 if draw.random() < 0.02 else 1) for _ in range(count))
    return Measured(
        "f", "native", True, {}, {"warm": Samples("warm", tuple(int(scale * 1e4 * value) for value in values))}
    )


# Comparison


def test_comparison_of_the_same_finds_no_difference() -> None:
    """Of a hundred pairs of the same kind, not one differs."""
    verdicts = {compare(drawn(at, 1), drawn(at + 1_000, 1)).differences[0].verdict for at in range(100)}
    assert verdicts == {NO_DIFFERENCE}


def test_comparison_finds_a_difference_that_is_there() -> None:
    """A tenth, in spite of outliers, and says in which direction."""
    (one,) = compare(drawn(1, 1.1), drawn(2, 1)).differences
    assert one.verdict == f"{one.ratio:.2f} × as slow"
    assert one.interval.low <= one.ratio <= one.interval.high
    assert one.ratio == pytest.approx(1.1, abs=0.03)
    (other,) = compare(drawn(2, 1), drawn(1, 1.1)).differences
    assert other.verdict == f"{1 / other.ratio:.2f} × as fast"


def test_comparison_of_what_comes_in_waves_is_not_sure() -> None:
    """Half of one was measured while the machine was slow: a thousand samples, and yet no evidence."""
    draw = random.Random(5)
    slow = tuple(int(10_000 * draw.lognormvariate(0, 0.1) * (1 if at < 300 else 1.5)) for at in range(1_000))
    quick = tuple(int(10_000 * draw.lognormvariate(0, 0.1) * (1 if at < 600 else 1.5)) for at in range(1_000))
    first, second = (Measured("f", "native", True, {}, {"warm": Samples("warm", values)}) for values in (slow, quick))
    (one,) = compare(first, second).differences
    # By the bootstrap alone one would be sure; of a ratio far from 1 it is not said that there is no difference.
    assert (one.verdict, one.interval.high < 1 or one.interval.low > 1, abs(one.ratio - 1) > 0.1) == (
        UNSURE,
        True,
        True,
    )


def test_comparison_is_of_loads_at_the_same_rate() -> None:
    """Wherever that stands among those of the other one."""
    found = Measured(
        "f", "native", True, {}, {"open@1": samples("open", 5, load=Load(1, 9.0, 9.0, asked="50%")),
                                  "open@1#2": samples("open", 9, load=Load(1, 9.0, 9.0, asked="90%"))},
    )  # fmt: skip
    other = Measured("g", "native", True, {}, {"open@1": samples("open", 9, load=Load(1, 9.0, 9.0, asked="90%"))})
    assert [(one.key, one.verdict) for one in compare(found, other).differences] == [("open@1#2", NO_DIFFERENCE)]
    assert [one.key for one in compare(other, found).differences] == ["open@1"]


def test_comparison_of_few_says_so(measured: Make) -> None:
    """One compilation against another."""
    first = Measured("f", "native", True, {"compile": Samples("compile", (10,))}, {})
    second = Measured("g", "native", True, {"compile": Samples("compile", (1_000,))}, {})
    assert compare(first, second).differences[0].verdict == TOO_FEW


def test_comparison_with_another_time_asks_for_more(measured: Make) -> None:
    """Five in a hundred may be the machine's mood of that day."""
    first, second = measured(warm=10.5), measured(warm=10)
    assert compare(first, second).differences[0].verdict == "1.05 × as slow"
    assert compare(first, second, "old.json").differences[0].verdict == NO_DIFFERENCE
    assert compare(measured(warm=12), second, "old.json").differences[0].verdict == "1.20 × as slow"


def test_comparison_is_of_what_both_have(measured: Make) -> None:
    """And of zeros, too: a clock may show the same time twice."""
    assert [
        one.key for one in compare(measured(cold=5, warm=3, init=1), measured(init=2, cold=5, reused=1)).differences
    ] == [
        "init",
        "cold",
    ]
    assert compare(measured(init=0), measured(init=0)).differences[0].verdict == NO_DIFFERENCE


# Budgets


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("warm.p99<200us", ("threads", "warm", None, "p99", "<", 200e-6)),
        ("processes.open@2.p99.9 <= 5ms", ("processes", "open", 2, "p99.9", "<=", 5e-3)),
        ("closed.rate>10000", ("threads", "closed", None, "rate", ">", 10_000.0)),
        ("first_call.max<1s", ("threads", "first_call", None, "max", "<", 1.0)),
        ("cold.mean<0.5", ("threads", "cold", None, "mean", "<", 0.5)),
        ("threads.reused.count>=10", ("threads", "reused", None, "count", ">=", 10.0)),
    ],
)
def test_budget_is_read(text: str, wanted: tuple[object, ...]) -> None:
    """Of what, which figure, how it is to stand to what."""
    *parts, bound = parse_budget(text)[1:]
    assert (*parts, pytest.approx(bound)) == wanted


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "is no budget"),
        ("warm<200us", "is no budget"),
        ("warm.p99=200us", "is no budget"),
        ("hot.p99<1s", "there is no 'hot'; there are compile, load"),
        ("machines.warm.p99<1s", "there is no 'machines.warm'"),
        ("warm.p999<1s", "there is no figure 'p999'"),
        ("warm.p99<fast", "'fast' is not a duration"),
        ("warm.p99<-1", "'-1' is not a duration"),
        ("closed.rate>many", "'many' is not a number"),
        ("warm.rate>5", "only closed and open have"),
        ("warm@2.p99<1s", "only closed and open have"),
        ("processes.init.p50<1s", "in this process only"),
        ("warm.p99<1s\x1b[31m", "is not a duration"),
        ("w" * 10_000, "is no budget"),
    ],
)
def test_budget_that_is_none_is_refused(text: str, error: str) -> None:
    """With what there is to choose from; nothing of it reaches a terminal raw."""
    with pytest.raises(ValueError, match=error) as raised:
        parse_budget(text)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 400


def test_budget_is_checked_against_every_function(measured: Make) -> None:
    """Kept by one, broken by the other."""
    verdicts = check([parse_budget("warm.p50<20us")], [measured("quick", warm=10), measured("slow", warm=30)])
    assert [verdict.is_kept for verdict in verdicts] == [True, False]
    assert str(verdicts[0]) == "warm.p50<20us: kept by quick: warm.p50 is 10.0 µs"
    assert str(verdicts[1]).startswith("warm.p50<20us: broken by slow: warm.p50 is 30.0")


@pytest.mark.parametrize(("relation", "kept"), [("<", False), ("<=", True), (">", False), (">=", True)])
def test_budget_means_its_relation(relation: str, kept: bool) -> None:
    """At the bound itself they differ."""
    found = Measured("f", "native", True, {}, {"warm": Samples("warm", (1_000_000_000,))})
    assert check([parse_budget(f"warm.max{relation}1s")], [found])[0].is_kept is kept


def test_budget_for_what_was_not_measured_is_broken(measured: Make) -> None:
    """A build must not pass because nobody looked."""
    (verdict,) = check([parse_budget("reused.p50<1s")], [measured(warm=1)])
    assert not verdict.is_kept
    assert str(verdict) == "reused.p50<1s: broken by f: it was not measured"


def test_budget_for_a_load_is_for_every_concurrency(measured: Make) -> None:
    """Unless it names one."""
    loads = tuple(samples("closed", 10, load=Load(number, 1_000.0 / number)) for number in (1, 2))
    found = measured(loads=loads)
    assert [one.is_kept for one in check([parse_budget("closed.rate>600")], [found])] == [True, False]
    assert [one.key for one in check([parse_budget("closed@1.rate>600")], [found])] == ["closed@1"]


# Advice


def texts(found: Measured) -> list[str]:
    """What is advised."""
    return [one.text for one in advise(found)]


def test_advice_is_none_where_none_follows(measured: Make) -> None:
    """A function that is as it should be, or of which nothing is known."""
    assert texts(measured(init=1, cold=10, warm=9, reused=8, compile=1_000, load=100)) == []
    assert texts(measured()) == []


def test_advice_is_a_snapshot_where_start_up_is_most_of_a_start(measured: Make) -> None:
    """With the figures; not for microseconds, and not where it is taken already."""
    (text,) = texts(measured(init=4_850, cold=5_000, warm=4_900))
    assert text.startswith("start-up is 97% of a cold start (4.85 ms of 5.00 ms): take a snapshot (--snapshot")
    assert texts(measured(init=10, cold=11, warm=10)) == []
    assert texts(measured(init=4_850, snapshot=5_000, warm=4_900)) == []
    # Which there is none of.
    assert texts(measured(init=4_850, cold=5_000, warm=4_900)._replace(abi="extism")) == []


def test_advice_is_to_keep_sandboxes_where_warm_starts_are_much_faster(measured: Make) -> None:
    """Clearly, whatever chance did."""
    (text,) = texts(measured(cold=30, warm=10))
    assert text.startswith("a warm start takes 10.0 µs, a cold one 30.0 µs: keep sandboxes ready")
    (text,) = texts(measured(snapshot=30, warm=10))
    assert "a snapshot one 30.0 µs" in text


def test_advice_is_reuse_where_a_sandbox_is_most_of_an_event(measured: Make) -> None:
    """With its price."""
    (text,) = texts(measured(warm=10, reused=3))
    assert text.startswith("a reused sandbox answers in 3.00 µs, a new one that is warm in 10.0 µs: if events may see")


def test_advice_is_to_compile_ahead_where_that_takes_long(measured: Make) -> None:
    """As for an interpreter."""
    (text,) = texts(measured(compile=700_000, load=400))
    assert text.startswith("compiling takes 700 ms, loading what is compiled 400 µs: compile when you deploy")


def test_advice_names_what_more_threads_do(measured: Make) -> None:
    """Nothing, and why."""
    one, two = (samples("closed", 10, load=Load(number, rate)) for number, rate in ((1, 1_000.0), (2, 1_050.0)))
    (text,) = texts(measured(loads=(one, two)))
    assert text.startswith("2 threads do 1,050 events/s, one does 1,000: its events are too short for threads")
    one, two = (samples("closed", 5_000, load=Load(number, rate)) for number, rate in ((1, 200.0), (2, 205.0)))
    (text,) = texts(measured(loads=(one, two)))
    assert text == "2 threads do 205 events/s, one does 200: more of them find no processor free"


def test_advice_names_what_processes_do(measured: Make) -> None:
    """Which is more than threads."""
    one, two = (samples("closed", 10, load=Load(number, rate)) for number, rate in ((1, 1_000.0), (2, 1_050.0)))
    others = samples("closed", 10, place="processes", load=Load(2, 1_900.0))
    (text,) = texts(measured(loads=(one, two, others)))
    assert text.startswith("2 worker processes do 1,900 events/s, 2 threads 1,050: ProcessExecutor is faster")


def test_advice_says_that_a_queue_grows(measured: Make) -> None:
    """Where less is done than comes; and what was not even sent."""
    late = samples("open", 10, load=Load(1, 600.0, 1_000.0, 400))
    (text,) = texts(measured(loads=(late,)))
    assert text.startswith(
        "open@1: 1,000 events/s are more than it keeps up with: 600 were done, and 400 were never sent;"
    )


def test_advice_says_that_the_pool_runs_dry(measured: Make) -> None:
    """Where the rate is kept up with, from sandboxes that are made for it."""
    dry = samples("open", 10, load=Load(1, 1_000.0, 1_000.0, warm_share=0.4))
    (text,) = texts(measured(loads=(dry,)))
    assert text.startswith("open@1: at 1,000 events/s only 40% found a sandbox ready")


def test_advice_says_that_the_machine_was_busy() -> None:
    """Where one event of a hundred takes fifty times as long as the middle one."""
    found = Measured("f", "native", True, {}, {"warm": Samples("warm", (10_000,) * 98 + (500_000,) * 2)})
    (text,) = texts(found)
    assert text.startswith("warm: p99 is 50 times p50 (500 µs for 10.0 µs)")
