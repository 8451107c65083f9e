"""The kinds of hot path that wasmrun has, as its variable names them. For those, too, who cannot import wasmrun."""

HOTPATH = "WASMRUN_HOTPATH"
KINDS = ("compiled", "ctypes")
