"""The program of a network device that hands frames to an AF_XDP socket: five instructions, bpf(2).

It looks into a map, under the number of the queue where the frame came, for a socket; where there is none, the frame goes its
usual way.
"""

from __future__ import annotations

import os
import platform
import struct
from typing import Final

from .words import ffi, system_call

__all__ = ["Redirection"]

#: Number of the system call.
BPF: Final = {"x86_64": 321, "aarch64": 280}

#: Commands and constants of <linux/bpf.h>.
MAP_CREATE, MAP_UPDATE_ELEM, PROG_LOAD, LINK_CREATE = 0, 2, 5, 28
MAP_TYPE_XSKMAP, PROG_TYPE_XDP, ATTACH_XDP, PSEUDO_MAP_FD = 17, 6, 37, 1
XDP_PASS, REDIRECT_MAP, FLAGS_GENERIC = 2, 51, 2

#: Where struct xdp_md has the number of the queue.
RX_QUEUE_INDEX: Final = 16


def instruction(
    code: int, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0
) -> bytes:
    """One instruction; its operation is a number of the BPF instruction set (RFC 9669)."""
    return struct.pack("<BBhi", code, source << 4 | destination, offset, immediate)


def program(sockets: int) -> bytes:
    """``return bpf_redirect_map(&sockets, context->rx_queue_index, XDP_PASS)``."""
    return b"".join(
        (
            instruction(0x61, 2, 1, RX_QUEUE_INDEX),  # r2 = *(u32 *)(r1 + …)
            instruction(0x18, 1, PSEUDO_MAP_FD, immediate=sockets) + instruction(0),  # r1 = the map
            instruction(0xB7, 3, immediate=XDP_PASS),  # r3 = …
            instruction(0x85, immediate=REDIRECT_MAP),  # r0 = call
            instruction(0x95),  # return r0
        )
    )


def _call(command: int, attributes: bytes) -> int:
    return system_call(BPF[platform.machine()], command, attributes)


def _new_map() -> int:
    try:
        return _call(MAP_CREATE, struct.pack("5I", MAP_TYPE_XSKMAP, 4, 4, 1, 0))
    except PermissionError as error:
        raise PermissionError(
            error.errno,
            f"{error.strerror}: a map of AF_XDP sockets is for root, and for nobody in a user namespace",
        ) from error


class Redirection:
    """Frames of queue 0 of a network device of this namespace go to a socket, until this is closed.

    :param device: index of the device
    :param port: descriptor of the socket
    :raises PermissionError: if the program may not make a map of sockets
    :raises OSError: from bpf(2)
    """

    def __init__(self, device: int, port: int) -> None:
        self._descriptors: list[int] = []
        try:
            sockets = self._keep(_new_map())
            key, value = ffi.new("uint32_t *", 0), ffi.new("uint32_t *", port)
            places = (int(ffi.cast("uintptr_t", place)) for place in (key, value))
            _call(MAP_UPDATE_ELEM, struct.pack("IxxxxQQQ", sockets, *places, 0))
            code, licence = ffi.new("char[]", program(sockets)), ffi.new("char[]", b"Apache-2.0")
            places = (int(ffi.cast("uintptr_t", place)) for place in (code, licence))
            about = struct.pack(
                "IIQQIIQII", PROG_TYPE_XDP, len(program(sockets)) // 8, *places, 0, 0, 0, 0, 0
            )
            loaded = self._keep(_call(PROG_LOAD, about))
            self._keep(_call(LINK_CREATE, struct.pack("4I", loaded, device, ATTACH_XDP, FLAGS_GENERIC)))
        except BaseException:
            self.close()
            raise

    def _keep(self, descriptor: int) -> int:
        self._descriptors.append(descriptor)
        return descriptor

    def close(self) -> None:
        """Take the program away, and forget it."""
        while self._descriptors:
            os.close(self._descriptors.pop())
