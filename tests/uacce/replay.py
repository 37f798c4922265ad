"""Replays what was recorded between our driver and one device on another, through the file layer alone.

``corpus.json`` has queues; of each the steps in order: entries with the doorbell that published them, or completions with
the doorbells that answered. Where an entry has an address, the recording has a buffer and an offset instead, and scatter
lists have their own. The number of the hardware queue is 0 in it: whoever replays puts in his.

Everything must come out as it was recorded, bit for bit: completion entries, and entries as the device wrote them back.
But what a compressor makes of its input is its own affair: there the output is decoded, and the count of it compared with that.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import struct
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wdasync_uacce import FileLayer, NodeInfo, QueueFile, Region, RegionKind

__all__ = ["CORPUS", "DEPTH", "Mismatch", "Replay", "replay"]

CORPUS = Path(__file__).with_name("corpus.json")

#: Entries of a ring: few, so that it is gone round several times.
DEPTH = 16

SQE, CQE, DOORBELL = 128, 16, 0x1000
QUEUE_BITS = (1 << 10) - 1
CQE_QUEUE = 10
SOURCE, DESTINATION = 18 * 4, 20 * 4
COMPRESS, OK, EXPANDED = 0, 0x00, 0x0D
TRAILERS = {2: 4, 3: 8}

#: Seconds for one completion.
PATIENCE = 60


class Mismatch(AssertionError):
    """Raised when a device does another thing than was recorded."""


def load() -> dict[str, Any]:
    """The corpus."""
    told: dict[str, Any] = json.loads(CORPUS.read_text())
    return told


def replay(layer: FileLayer, node: NodeInfo) -> int:
    """All queues of the corpus on a device whose rings have :data:`DEPTH` entries.

    :returns: entries that were replayed
    :raises Mismatch: one came out otherwise
    """
    return sum(Replay(layer.open(node.name), queue).run() for queue in load()["queues"])


class Replay:
    """One queue.

    :param file: an open node; is closed by :meth:`run`
    :param recording: of one queue
    """

    def __init__(self, file: QueueFile, recording: dict[str, Any]) -> None:
        self.file = file
        self.recording = recording
        self.tail = self.head = 0
        self._regions: list[Region] = []
        self._grants: list[tuple[int, int, bool]] = []
        self._memory: dict[int, tuple[int, bytearray]] = {}
        self._lists: list[bytearray] = []
        self._flying: dict[int, tuple[dict[str, Any], bytes]] = {}

    def run(self) -> int:
        """Play all steps; how many entries there were."""
        try:
            self._set_up()
            return sum(self._step(step) for step in self.recording["steps"])
        finally:
            self._tear_down()

    def _set_up(self) -> None:
        file = self.file
        for kind in (RegionKind.DUS, RegionKind.MMIO):
            self._regions.append(file.map(kind))
        self.dus, self.mmio = self._regions
        self.number = file.set_queue_type(self.recording["type"])
        info = file.queue_info()
        if tuple(info) != (SQE, DEPTH, DEPTH):
            raise Mismatch(f"expected rings of {DEPTH} entries, got {info}")
        file.start()

    def _tear_down(self) -> None:
        with contextlib.suppress(OSError):
            self.file.put()
        for region in self._regions:
            self.file.unmap(region)
        self.file.close()
        for grant in self._grants:
            self.file.space.revoke(*grant)

    def _step(self, step: dict[str, Any]) -> int:
        """How many entries it has."""
        self._submit(step.get("submit", ()))
        for completion in step.get("complete", ()):
            self._complete(completion)
        for word in step["doorbells"]:
            self._ring(int(word, 16))
        return len(step.get("submit", ()))

    def _ring(self, word: int) -> None:
        self.mmio.store64(DOORBELL, word | self.number & QUEUE_BITS)

    # -- in ---------------------------------------------------------------------------------------------------

    def _submit(self, entries: Iterable[dict[str, Any]]) -> None:
        for entry in entries:
            sqe = bytearray.fromhex(entry["sqe"])
            for name, offset in (("source", SOURCE), ("destination", DESTINATION)):
                struct.pack_into("<Q", sqe, offset, self._place(entry[name], writable=name == "destination"))
            self.dus.write(self.tail * SQE, bytes(sqe))
            self._flying[self.tail] = entry, bytes(sqe)
            self.tail = (self.tail + 1) % DEPTH

    def _place(self, where: Any, *, writable: bool) -> int:
        """Address of what an entry names: an address as it is, a place in a buffer, or a chain of lists."""
        if isinstance(where, str):
            return int(where, 16)
        if isinstance(where, dict):
            return self._chain(where["lists"], writable=writable)
        number, offset = where
        return self._buffer(number, writable=writable) + int(offset)

    def _buffer(self, number: int, *, writable: bool) -> int:
        if number not in self._memory:
            told = self.recording["buffers"][number]
            data = bytearray(told["room"]) if "room" in told else bytearray(unpacked(told["data"]))
            self._memory[number] = self._grant(data, writable=writable), data
        return self._memory[number][0]

    def _grant(self, memory: bytearray, *, writable: bool) -> int:
        address = self.file.space.grant(memory, writable)
        self._grants.append((address, len(memory), writable))
        return address

    def _chain(self, lists: list[dict[str, Any]], *, writable: bool) -> int:
        """Scatter lists as they were, each with the addresses of this process."""
        following = 0
        for told in reversed(lists):
            raw = bytearray.fromhex(told["raw"])
            struct.pack_into("<Q", raw, 0, following)
            for index, where in enumerate(told["entries"]):
                struct.pack_into("<Q", raw, 64 + 32 * index, self._place(where, writable=writable))
            memory = bytearray(len(raw) + 64)
            address = self._grant(memory, writable=False)
            offset = -address % 64
            memory[offset : offset + len(raw)] = raw
            self._lists.append(memory)
            following = address + offset
        return following

    # -- out --------------------------------------------------------------------------------------------------

    def _complete(self, told: dict[str, str]) -> None:
        wanted = bytearray.fromhex(told["cqe"])
        at = SQE * DEPTH + CQE * self.head
        end = time.monotonic() + PATIENCE
        while self.dus.load32(at + 12) >> 16 & 1 != wanted[14] & 1:
            self.file.pump()
            if time.monotonic() > end:
                raise Mismatch(f"no completion {told} after {PATIENCE} s")
        struct.pack_into("<H", wanted, CQE_QUEUE, self.number)
        found = self.dus.read(at, CQE)
        if found != wanted:
            raise Mismatch(f"completion entry: expected {wanted.hex()}, got {found.hex()}")
        self.head = (self.head + 1) % DEPTH
        slot = int.from_bytes(wanted[8:10], "little")
        self._compare(slot, bytearray.fromhex(told["sqe"]), told.get("output"))

    def _compare(self, slot: int, wanted: bytearray, output: str | None) -> None:
        entry, submitted = self._flying.pop(slot)
        found = bytearray(self.dus.read(slot * SQE, SQE))
        wanted[SOURCE : DESTINATION + 8] = submitted[SOURCE : DESTINATION + 8]
        produced = struct.unpack_from("<I", found, 4)[0]
        status = wanted[12]
        if self.recording["type"] == COMPRESS and status in (OK, EXPANDED):
            self._decodes(entry, submitted, self._written(entry, submitted, produced))
            found[4:8] = wanted[4:8]
        elif output is not None:
            got = hashlib.sha256(self._written(entry, submitted, produced)).hexdigest()
            if got != output:
                raise Mismatch(f"slot {slot}: another output of {produced} bytes")
        if found != wanted:
            raise Mismatch(f"entry in slot {slot}: expected {bytes(wanted).hex()}, got {bytes(found).hex()}")

    def _decodes(self, entry: dict[str, Any], submitted: bytes, output: bytes) -> None:
        trailer = TRAILERS[submitted[9 * 4]]
        decoder = zlib.decompressobj(-15)
        plain = decoder.decompress(output)
        length = struct.unpack_from("<I", submitted, 4 * 4)[0]
        if plain != self._named(entry["source"], submitted, 7 * 4, length):
            raise Mismatch("what was compressed decodes to another thing")
        check = zlib.adler32(plain).to_bytes(4, "big")
        if trailer == 8:
            check = zlib.crc32(plain).to_bytes(4, "little") + len(plain).to_bytes(4, "little")
        if decoder.unused_data != check:
            raise Mismatch(f"trailer: expected {check.hex()}, got {decoder.unused_data.hex()}")

    def _written(self, entry: dict[str, Any], submitted: bytes, nbytes: int) -> bytes:
        return self._named(entry["destination"], submitted, 8 * 4, nbytes)

    def _named(self, where: Any, submitted: bytes, skipped: int, nbytes: int) -> bytes:
        """Bytes that an entry names, from the offset on that its word at ``skipped`` tells."""
        if isinstance(where, str):
            return b""
        if isinstance(where, dict):
            skip = struct.unpack_from("<I", submitted, skipped)[0] & 0xFFFFFF
            pieces = b"".join(
                self._memory[number][1][offset : offset + length]
                for told in where["lists"]
                for (number, offset), length in zip(told["entries"], told["lengths"], strict=True)
            )
            return pieces[skip : skip + nbytes]
        number, offset = where
        return bytes(self._memory[number][1][offset : offset + nbytes])


def packed(data: bytes) -> str:
    """Bytes, for the corpus."""
    return base64.b64encode(zlib.compress(data, 9)).decode()


def unpacked(text: str) -> bytes:
    """Bytes of the corpus."""
    return zlib.decompress(base64.b64decode(text))
