"""The record of an instance: where the C API writes its handles and values to, in words of 8 bytes."""

from __future__ import annotations

import ctypes

# An extern is 4 words, the handle in it starts at the second one. hotpath/crossings.c has the same numbers.
ALLOC = 1
ENTRY = 5
FREE = 9
MEMORY = 13
INSTANCE = 16
TRAP = 18
FUEL = 19
VALUES = 20
# What only Extism plug-ins have: a second instance, the kernel, and functions of it.
KERNEL = 24
KERNEL_MEMORY = 27
KERNEL_LENGTH = 31
BEGIN = ALLOC
KERNEL_ALLOC = FREE
ERROR = 34
RECORD_WORDS = 35

# Own prototypes, because those of ctypes give the GIL up for a copy of 64 bytes.
copy_in = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ctypes.cast(ctypes.CDLL(None).memmove, ctypes.c_void_p).value or 0
)
copy_out = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p)(
    ctypes.cast(ctypes.pythonapi.PyBytes_FromStringAndSize, ctypes.c_void_p).value or 0
)
