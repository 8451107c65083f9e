"""Hypothesis as these tests use it: the same examples at every run, and no clock."""

from __future__ import annotations

import hypothesis

hypothesis.settings.register_profile("steady", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("steady")
