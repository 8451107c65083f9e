"""The wasi-http ABI: a component of the world `wasi:http/proxy`, which answers one HTTP request."""

from __future__ import annotations

import re

from wasmrun.errors import GuestError, InvalidAnswer, InvalidFunction, printable
from wasmrun.hints import TYPE_CHECKING, Any, ClassVar
from wasmrun.machine import messages
from wasmrun.machine.abi.base import Given
from wasmrun.machine.components import binding, failing
from wasmrun.machine.proxy.carriers import Wrong, handle
from wasmrun.machine.proxy.resources import IncomingRequest, OutgoingResponse, ResponseOutparam
from wasmrun.machine.record import ENTRY, VALUES
from wasmrun.payload import make_response, read_payload

if TYPE_CHECKING:
    from wasmrun.function import Function
    from wasmrun.machine.components.link import Link
    from wasmrun.machine.components.loaded import Component
    from wasmrun.machine.instance import Instance

HANDLE = "func(request: own, response-out: own)"
"""The type of ``handle`` in `wasi:http/incoming-handler`, as the surface of a component has it."""
_HANDLE = re.compile(r"func\([a-z0-9-]+: own, [a-z0-9-]+: own\)", re.IGNORECASE)


class WasiHttpCodec:
    """A request of payload 2.0 into MessagePack, in which a worker can find it, and the response out of it."""

    name: ClassVar[str] = "wasi-http"
    is_raw = False
    needs_context = False

    def __init__(self, entry: str) -> None:
        self.entry = entry

    def encode(self, event: Any, given: Given | None) -> bytes:
        """Method, target, scheme, authority, headers and body of the request."""
        request = read_payload(event)
        target = f"{request.path}?{request.query}" if request.query else request.path
        authority = request.headers.get("host") or request.domain or "localhost"
        fields = [(name, value.encode()) for name, value in request.headers.items()]
        payload: bytes = messages.encode((request.method, target, request.scheme, authority, fields, request.body))
        return payload

    def decode(self, answer: bytes) -> Any:
        """The response. Raises `InvalidAnswer` for what is none: another process may have written it."""
        try:
            found = messages.decode(answer)
        except ValueError as error:
            raise InvalidAnswer(f"the response is not MessagePack: {error}") from None
        match found:
            case [int() as status, list() as fields, bytes() as body] if all(map(_is_field, fields)):
                return make_response(status, ((name, _text(value)) for name, value in fields), body)
        raise InvalidAnswer("what was answered is no response")


def _is_field(found: object) -> bool:
    match found:
        case [str(), bytes()]:
            return True
    return False


def _text(value: bytes) -> str:
    # As HTTP/1.1 had it: bytes that are no UTF-8 are letters of Latin 1.
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


class WasiHttp(WasiHttpCodec):
    """The wasi-http ABI for one function. Raises `InvalidFunction` for settings that it cannot serve."""

    wasi_at_event = False
    can_reuse = True
    start_up: tuple[bytes, ...] = ()
    params: tuple[str, ...] = ()
    results: tuple[str, ...] = ()

    def __init__(self, function: Function, component: Component, entry: str) -> None:
        super().__init__(entry)
        type_ = component.exports.get(f"{entry}.handle")
        if type_ is None or not _HANDLE.fullmatch(type_):
            what = "is missing" if type_ is None else f"must be {HANDLE}, not {printable(type_)}"
            raise InvalidFunction(
                f"the export {entry}.handle {what}; build the component for the world wasi:http/proxy"
            )
        self._is_reused = function.reuse
        for name, is_set in (("raw", function.raw), ("dirs", function.dirs), ("args", function.args)):
            if is_set:
                raise InvalidFunction(f"{name}: not for a component of wasi:http/proxy, which takes requests alone")

    def prepare(self, instance: Instance) -> None:
        """Find the handler."""
        link: Link = instance.program.link  # type: ignore[assignment]  # a component's
        link.find(instance, "handle", inside=self.entry)

    def call(self, instance: Instance, payload: bytes) -> bytes:
        """Hand the request over and take the response."""
        host = instance.proxy
        host.begin()
        try:
            return self._answered(instance, payload)
        finally:
            if not self._is_reused:
                # It may be a while until the sandbox is destroyed, and others are spent meanwhile.
                host.forget()

    def _answered(self, instance: Instance, payload: bytes) -> bytes:
        method, target, scheme, authority, fields, body = messages.decode(payload)
        host = instance.proxy
        headers = [(name, value) for name, value in fields]
        request = IncomingRequest(method, target, scheme, authority, headers, host.arrived(body))
        words, at = instance.words, instance.record + VALUES
        # Both are freed in any case, and there may be no handle for the second.
        words[at] = words[at + 4] = binding.BOOL
        try:
            for place, resource in ((at, request), (at + 4, ResponseOutparam())):
                words[place + 1] = handle(host, resource)
                words[place] = binding.RESOURCE
            error = binding.call(instance.address + ENTRY * 8, instance.context, instance.values, 2, None, 0)
        finally:
            for place in (0, 4):
                binding.value_delete(instance.values + place * 8)
        if error:
            raise failing.failure(instance, error)
        return _answer(host.response)

    def release(self, instance: Instance) -> None:
        """The component has given its memory back at the end of its call."""
        if instance.fault is not None:
            raise instance.fault


def _answer(response: OutgoingResponse | Wrong | None) -> bytes:
    if response is None:
        raise InvalidAnswer("the component answered no response: it returned without setting its response-outparam")
    if isinstance(response, Wrong):
        code, detail = response.reason
        raise GuestError(f"{code}: {detail}" if detail else code, type="HttpErrorCode")
    if response.body.is_taken and not response.body.is_finished:
        raise InvalidAnswer("the component did not finish the body of its response (outgoing-body.finish)")
    answer: bytes = messages.encode((response.status, response.headers.entries, bytes(response.body.data)))
    return answer
