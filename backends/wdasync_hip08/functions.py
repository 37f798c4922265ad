"""The functions of the chip: which engines it has, as a table.

Each is a device of its own: a uacce node with its queues, behind it a queue manager and an engine. All are behind one
SMMU, which tells them apart by their StreamIDs, and share what it knows: a process has the same PASID with each of them,
and a translation that one has caused serves the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from wdasync_hip08.engines import hpre, sec
from wdasync_hip08.engines import zip as zip_engine
from wdasync_hip08.port import Port
from wdasync_hip08.qm.pairs import Engine
from wdasync_hip08.trace import Trace

__all__ = ["FUNCTIONS", "HPRE", "SEC", "ZIP", "Function"]


@dataclass(frozen=True, slots=True)
class Function:
    """One row.

    :ivar name: of its node; the kernel's driver and a number
    :ivar stream: StreamID: bus, device and function number
    :ivar algorithms: attribute of that name
    :ivar entry_bytes: size of its submission entries
    :ivar engine: makes what works on them, behind a port and a queue manager of some version
    :ivar dump: an entry, for people
    :ivar newer: algorithms that it has besides from the third generation on
    """

    name: str
    stream: int
    algorithms: tuple[str, ...]
    entry_bytes: int
    engine: Callable[[Port, Trace, int], Engine]
    dump: Callable[[bytes], str] = bytes.hex
    newer: tuple[str, ...] = ()

    def of(self, generation: int) -> tuple[str, ...]:
        """Its algorithms behind a queue manager of this version."""
        return self.algorithms + (self.newer if generation > 2 else ())


ZIP: Final = Function(
    "hisi_zip-0",
    0x7500,
    ("zlib", "gzip"),
    zip_engine.ENTRY_BYTES,
    lambda port, trace, _: zip_engine.ZipEngine(port, trace),  # The same in both.
    zip_engine.dump_entry,
)
HPRE: Final = Function(
    "hisi_hpre-0",
    0x7900,
    ("rsa", "dh"),
    hpre.ENTRY_BYTES,
    hpre.HpreEngine,
    hpre.dump_entry,
    newer=("ecdh", "x25519", "x448", "ecdsa", "sm2"),
)
#: Ciphers are borrowed from the package `cryptography`: without it the engine has none.
SEC: Final = Function(
    "hisi_sec2-0",
    0x7600,
    ("cipher", "digest", "aead") if find_spec("cryptography") else ("digest",),
    sec.ENTRY_BYTES,
    sec.SecEngine,
    sec.dump_entry,
)

#: What the chip has.
FUNCTIONS: Final = (ZIP, HPRE, SEC)
