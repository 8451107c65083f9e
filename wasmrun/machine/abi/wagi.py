"""The WAGI ABI: a WASI preview 1 program that answers HTTP requests as a CGI script does."""

from __future__ import annotations

from wasmrun.cgi import read_request, read_response
from wasmrun.errors import InvalidFunction
from wasmrun.hints import TYPE_CHECKING, Any, ClassVar
from wasmrun.machine import messages
from wasmrun.machine.abi.base import Given
from wasmrun.machine.abi.command import Inputs, Once

if TYPE_CHECKING:
    from wasmrun.function import Function
    from wasmrun.machine.module import Module


class WagiCodec:
    """A request of payload 2.0 into MessagePack, in which a worker can find it, and the program's output into a response."""

    name: ClassVar[str] = "wagi"
    is_raw = False
    needs_context = False

    def __init__(self, entry: str) -> None:
        self.entry = entry

    def encode(self, event: Any, given: Given | None) -> bytes:
        """What the program gets of the request."""
        payload: bytes = messages.encode(read_request(event))
        return payload

    def decode(self, answer: bytes) -> Any:
        """The response that the program wrote."""
        return read_response(answer)


class Wagi(Once, WagiCodec):
    """The WAGI ABI for one function. Raises `InvalidFunction` for a module that cannot serve it."""

    def __init__(self, function: Function, module: Module) -> None:
        super().__init__(function, module)
        if function.raw:
            raise InvalidFunction("raw=True (--raw) wants a function of bytes, and a WAGI program takes requests")

    def inputs(self, payload: bytes) -> Inputs:
        """Variables of the request and of the function.

        No header gets in the place of a variable that the function is granted. Where the function has arguments,
        a request adds none.
        """
        script_name, args, variables, body = messages.decode(payload)
        granted = {name: value for name, value in self._function.env if name not in variables or name[:5] == "HTTP_"}
        return Inputs((script_name, *(self._function.args or args)), tuple((variables | granted).items()), body)
