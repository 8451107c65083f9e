"""The machine: everything that knows the engine. Nothing above this package calls its C API."""
