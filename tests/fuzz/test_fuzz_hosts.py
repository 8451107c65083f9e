"""Made-up calls of hosts, and made-up answers to them: each ends in a value or a typed error, within the limits."""

from __future__ import annotations

import hosts
import targets


def test_any_calls_of_a_kernel_are_an_answer_or_an_error(either: targets.AnyExecutor) -> None:
    """With any numbers as handles, offsets and lengths."""
    counts = targets.hunt(hosts.Plugins(either), 150)
    # What else there is depends on the cases, and those on what else is loaded.
    assert {"answer", "GuestTrap"} <= set(counts)


def test_any_output_of_a_cgi_program_is_a_response_or_an_error(either: targets.AnyExecutor) -> None:
    """Whatever its headers are."""
    counts = targets.hunt(hosts.Responses(either), 200)
    assert {"answer", "InvalidAnswer"} == set(counts)


def test_any_object_is_a_request_or_refused(either: targets.AnyExecutor) -> None:
    """By programs and by components."""
    counts = targets.hunt(hosts.HttpEvents(either), 200)
    assert {"taken", "InvalidEvent"} == set(counts)


def test_any_answer_of_a_component_is_read_or_an_error(either: targets.AnyExecutor) -> None:
    """Exactly what lies in its memory; the same for what it asks the host."""
    counts = targets.hunt(hosts.Lifted(either), 200)
    assert {"answer", "GuestError", "InvalidAnswer"} <= set(counts)


def test_any_calls_of_a_proxy_are_an_error_of_its_own(either: targets.AnyExecutor) -> None:
    """With any handles; one that is through with it has answered nothing."""
    counts = targets.hunt(hosts.Proxies(either), 200)
    assert {"InvalidAnswer", "GuestTrap"} <= set(counts)
