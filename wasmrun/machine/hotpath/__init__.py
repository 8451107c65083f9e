"""The hot path: what an event of the usual kind needs of the engine, as five steps.

    open → prepare → arm → call → close

`compiled` makes one crossing into C of each; `stepwise` makes the engine's calls one by one through ctypes, and needs
no compiler. Both leave the same in an instance's record, and say the same.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

from wasmrun.errors import HostError
from wasmrun.hints import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from wasmrun.machine.engine import Engine

VARIABLE = "WASMRUN_HOTPATH"
"""The variable that says which of the two is taken; the compiled one, where there is one, without it."""

KINDS = ("compiled", "ctypes")


class Step(enum.IntEnum):
    """How `Crossings.call` ended where it gives no answer."""

    FAILED_IN_ALLOC = 1
    NO_MEMORY = 2
    EVENT_OUTSIDE = 3
    FAILED = 4
    ANSWER_OUTSIDE = 5
    ANSWER_TOO_LARGE = 6
    ANSWER_AT_NULL = 7


class Plan(NamedTuple):
    """What the sandboxes of one function have in common.

    ``limits`` are those of a store: memory bytes, table elements, instances, tables, memories. ``pre`` is 0 where
    `Crossings.prepare` is not for them.
    """

    engine: int
    look: int
    limits: tuple[int, int, int, int, int]
    pre: int = 0
    entry: bytes = b""
    has_free: bool = False


class Crossings(Protocol):
    """The five steps, for the instances of one engine. Addresses are plain numbers."""

    kind: str
    """One of `KINDS`."""

    @property
    def run_each(self) -> Callable[[Any, int, int, int, int, int, int, int, list[bytes]], list[bytes]] | None:
        """``(plan, record, fuel, ticks, memory_bytes, most, until, log_bytes, events) -> answers``: a batch in one crossing.

        A fresh sandbox for each of *events*, in the same record. It ends before the first event that has no answer, and
        at *until* (nanoseconds of the monotonic clock).
        """
        ...

    @property
    def new_yard(self) -> Callable[..., Any] | None:
        """``(traffic, its_owner, clock, its_owner) -> yard``: the places of one engine, where there is an express."""
        ...

    @property
    def new_express(self) -> Callable[..., Any] | None:
        """The express of one function; see `BaseProgram.open_express` and express.c for what it takes."""
        ...

    @property
    def stand_in(self) -> Callable[[str, int], tuple[int, Any]] | None:
        """``(name, address of Python's) -> (address, environment)``: "log" or "abort", without Python in guests that run in
        one crossing.
        """
        ...

    def entry(self, function: Callable[..., int], kind: str, /) -> Callable[..., int]:
        """*function* for ctypes to call back, with a result whatever is raised where it begins.

        *kind* is what that is: a new "trap", a new "error", or -EIO for a "count".
        """
        ...

    def put_raised(self, error: BaseException, /) -> None:
        """Keep what was raised on this thread where nobody can raise it, until the engine has come back."""
        ...

    def take_raised(self) -> BaseException | None:
        """What was raised in an entry on this thread, or put, once."""
        ...

    def plan(self, plan: Plan) -> Any:
        """*plan* as `open` and `prepare` take it."""
        ...

    def open(self, plan: Any) -> tuple[int, int]:
        """A store with every limit set: its address and its context's."""
        ...

    def prepare(self, plan: Any, context: int, record: int) -> int | None:
        """Instantiate, and put the handles of what the native ABI calls into the record; the memory's address.

        None where there is an error or a trap in the record instead. For what runs no guest code then.
        """
        ...

    def arm(self, context: int, fuel: int, ticks: int) -> None:
        """Give the guest *fuel* (0: it is not metered), and *ticks* until it is looked at."""
        ...

    def call(self, context: int, record: int, memory: int, memory_bytes: int, most: int, event: bytes) -> bytes | int:
        """The answer to *event*, of *most* bytes at most, or the `Step` at which there was none.

        The memory is at *memory*, and has had *memory_bytes* at least.
        """
        ...

    def close(self, store: int) -> None:
        """Delete the store."""
        ...


def check_kind(environ: Mapping[str, str]) -> str | None:
    """The kind that *environ* names, if any. Raises `HostError` where it is none."""
    kind = environ.get(VARIABLE) or None
    if kind is not None and kind not in KINDS:
        raise HostError(f"{VARIABLE} must be {' or '.join(KINDS)}, not {kind!r}")
    return kind


def choose(kind: str | None) -> str:
    """The kind that is taken where *kind* was named: that one, else the compiled one where there is one.

    Raises `HostError` where the compiled one was named, and this installation does not have it.
    """
    if kind == "ctypes":
        return kind
    try:
        import wasmrun.machine.hotpath.compiled  # noqa: F401  # it may not have been built
    except ImportError as error:
        if kind == "compiled":
            raise HostError(
                f"{VARIABLE} asks for the compiled hot path, which this installation does not have ({error}); "
                "install wasmrun where a C compiler and Python's headers are, or unset it"
            ) from None
        return "ctypes"
    return "compiled"


def crossings(engine: Engine, kind: str | None) -> Crossings:
    """The hot path for *engine*, of the kind that `choose` says. Raises `HostError` as that does."""
    if choose(kind) == "compiled":
        from wasmrun.machine.hotpath.compiled import Compiled

        return Compiled()
    from wasmrun.machine.hotpath.stepwise import Stepwise

    return Stepwise(engine.words, engine.address)
