"""The first file system of the guest: a busybox, a few modules and a script, as a cpio archive."""

from __future__ import annotations

import stat
from collections.abc import Mapping

__all__ = ["cpio"]

_END = "TRAILER!!!"


def _entry(number: int, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """One file in the format that the kernel unpacks: "newc", of which all numbers are eight hexadecimal digits."""
    path = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
    head = b"070701" + "".join(f"{field:08x}" for field in fields).encode() + path
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def cpio(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """An archive with these files and the folders above them, and a console to speak to.

    :param files: path without a leading slash -> contents, permissions
    """
    folders = {
        "/".join(parts[:depth])
        for name in files
        for parts in [name.split("/")]
        for depth in range(1, len(parts))
    }
    entries = [(name, stat.S_IFDIR | 0o755, b"", (0, 0)) for name in sorted(folders | {"dev"})]
    entries.append(("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)))
    entries += [(name, stat.S_IFREG | mode, data, (0, 0)) for name, (data, mode) in files.items()]
    archive = b"".join(_entry(number, *entry) for number, entry in enumerate(entries, 1))
    archive += _entry(0, _END, 0)
    return archive + bytes(-len(archive) % 512)
