"""For a process of its own: system calls that the kernel refuses, as a container's seccomp profile would have it."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Any

#: System call -> its number on (x86-64, AArch64 and RISC-V, which share theirs).
NUMBERS = {
    "eventfd2": (290, 19),
    "madvise": (28, 233),
    "memfd_create": (319, 279),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "setpriority": (141, 140),
    "userfaultfd": (323, 282),
}

_COLUMN = 0 if platform.machine() == "x86_64" else 1
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _GIVE = 0x20, 0x15, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction))]


def refuse(error: int, *calls: str) -> None:
    """From now on, in this thread and those that it starts, these system calls give this error."""
    numbers = [NUMBERS[name][_COLUMN] for name in calls]
    steps = [(_LOAD, 0, 0, 0)]
    steps += [(_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    steps += [(_GIVE, 0, 0, _ALLOW), (_GIVE, 0, 0, _ERROR | error)]
    code = (_Instruction * len(steps))(*steps)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs"
    assert libc.prctl(_SECCOMP, _FILTER, ctypes.byref(_Program(len(steps), code)), 0, 0) == 0, "seccomp"


def hide(error: int, *prefixes: str) -> None:
    """From now on, files and folders whose paths begin so cannot be opened by Python code."""

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith(prefixes):
            raise OSError(error, os.strerror(error), str(arguments[0]))

    sys.addaudithook(look)
