"""Threads on which guests run have the stack that guests need, and it is known how much."""

from __future__ import annotations

import ctypes
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from wasmrun.machine import threads
from wasmrun.machine.threads import GUEST_STACK, guest_stack

MIB = 1024 * 1024


def test_thread_knows_the_size_of_its_stack() -> None:
    """Of the calling thread, whatever it was given: a guest that outgrows it would kill the process."""
    program = """
import threading
from wasmrun.machine.threads import stack_bytes
for size in (512 * 1024, 3 * 1024 * 1024):
    threading.stack_size(size)
    thread = threading.Thread(target=lambda: print(stack_bytes()))
    thread.start()
    thread.join()
"""
    # In a process of its own, since the C library gives stacks of threads that have ended to new ones.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    small, large = map(int, done.stdout.split())
    assert 512 * 1024 <= small < 600 * 1024
    assert 3 * 1024 * 1024 <= large < 3200 * 1024


def stack_size() -> int:
    """What was chosen for new threads. Asking Python for it sets it to 0, so it is put back."""
    size = threading.stack_size()
    threading.stack_size(size)
    return size


@pytest.fixture
def chosen() -> Iterator[None]:
    """Puts back what a test chose for threads."""
    before = stack_size()
    yield
    threading.stack_size(before)


def test_thread_for_guests_has_room_whatever_the_program_chose(chosen: None) -> None:
    """Less is raised while threads are started, and put back; more is left alone."""
    threading.stack_size(256 * 1024)
    with guest_stack():
        assert stack_size() == GUEST_STACK == 2 * MIB
    assert stack_size() == 256 * 1024
    threading.stack_size(4 * MIB)
    with guest_stack():
        assert stack_size() == 4 * MIB
    assert stack_size() == 4 * MIB


def test_thread_for_guests_has_room_whatever_the_shell_chose(chosen: None) -> None:
    """`ulimit -s` is what threads get of which nothing was said; no limit at all is the C library's own 2 MiB."""
    threading.stack_size(0)
    before = resource.getrlimit(resource.RLIMIT_STACK)
    try:
        resource.setrlimit(resource.RLIMIT_STACK, (512 * 1024, before[1]))
        with guest_stack():
            assert stack_size() == GUEST_STACK
        for enough in (8 * MIB, before[1]):
            resource.setrlimit(resource.RLIMIT_STACK, (enough, before[1]))
            with guest_stack():
                assert stack_size() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, before)


def test_thread_for_guests_is_started_although_somebody_died_with_the_lock(
    chosen: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a child that was forked meanwhile: after a while it goes on without."""
    monkeypatch.setattr(threads, "_PATIENCE_SECONDS", 0.01)
    threading.stack_size(256 * 1024)
    with threads._stack_size_lock, guest_stack():
        assert stack_size() == GUEST_STACK
    assert stack_size() == 256 * 1024
    assert not threads._stack_size_lock.locked()


def test_thread_for_guests_leaves_alone_what_the_program_chose_meanwhile(chosen: None) -> None:
    """Another thread may choose at any time, and asks nobody."""
    threading.stack_size(256 * 1024)
    with guest_stack():
        threading.stack_size(5 * MIB)
    assert stack_size() == 5 * MIB


def test_thread_whose_stack_cannot_be_known_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nothing runs on it. The C library always knows; its refusal is made up here."""

    class Unknowing:
        """A C library that does not know its threads."""

        def __init__(self, name: None) -> None:
            self.pthread_self = Call(1)
            self.pthread_getattr_np = Call(22)

    class Call:
        def __init__(self, answer: int) -> None:
            self.answer = answer

        def __call__(self, *arguments: object) -> int:
            return self.answer

    monkeypatch.setattr(ctypes, "PyDLL", Unknowing)
    assert threads.stack_bytes() == 0
