"""What the tests of the benchmark share."""

from __future__ import annotations

import hypothesis
import pytest
from bench_kit import Make, samples

from wasmrun.bench.samples import PHASES, Measured, Samples

# The same examples at every run, and no clock.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("steady")


@pytest.fixture
def measured() -> Make:
    """Makes what was measured of one function, from microseconds by name."""

    def make(label: str = "f", *, loads: tuple[Samples, ...] = (), **micros: float) -> Measured:
        found = {name: samples(name, value) for name, value in micros.items()}
        others = [one for name, one in found.items() if name not in PHASES]
        phases = {name: one for name, one in found.items() if name in PHASES}
        return Measured(label, "native", True, phases, {one.key: one for one in (*others, *loads)})

    return make
