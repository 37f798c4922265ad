"""Makes ``corpus.json``: what our driver and the emulated chip say to each other. ``python -m tests.uacce.record``

Made once. It is not made anew when the driver changes, only when the corpus shall hold more: its worth is that two
devices, and whatever becomes of them, are compared with one and the same recording.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import struct
import zlib
from collections.abc import Sequence, Sized
from typing import Any

from tests.uacce.replay import CORPUS, CQE, DEPTH, DOORBELL, QUEUE_BITS, SQE, packed
from wdasync.operations import Compress, Decompress, Nop, Operation
from wdasync_hip08.attachment import Attachment
from wdasync_hip08.functions import ZIP
from wdasync_hip08.machine import Machine
from wdasync_hip08.options import Options
from wdasync_uacce import NodeInfo, QueueFile, QueueInfo, Region, RegionKind, ZipDevice
from wdasync_uacce.memory import address_of

__all__ = ["Recorder", "main"]

WORDS = [
    "what",
    "is",
    "recorded",
    "here",
    "is",
    "replayed",
    "elsewhere",
    "and",
    "must",
    "come",
    "out",
    "alike",
]
SCATTERED = 1 << 8


def text(nbytes: int, seed: int) -> bytes:
    """It can be compressed well."""
    chance = random.Random(seed)
    return " ".join(chance.choices(WORDS, k=nbytes // 3 + 1)).encode()[:nbytes]


class Space:
    """An address space; remembers what was granted."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.granted: list[tuple[int, int, Sized, bool]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def grant(self, buffer: Sized, writable: bool, resident: bool = False) -> int:
        address: int = self._inner.grant(buffer, writable, resident)
        self.granted.append((address, len(buffer), buffer, writable))
        return address

    def revoke(self, address: int, nbytes: int, writable: bool) -> None:
        self._inner.revoke(address, nbytes, writable)
        self.granted = [
            row for row in self.granted if (row[0], row[1], row[3]) != (address, nbytes, writable)
        ]


class Doorbells:
    """The MMIO region; tells of each store before it is made."""

    kind, address, view = RegionKind.MMIO, None, None

    def __init__(self, inner: Region, recorder: Recorder) -> None:
        self._inner = inner
        self._recorder = recorder
        self.size = inner.size

    def store64(self, offset: int, value: int) -> None:
        assert offset == DOORBELL
        self._recorder.rung(value)
        self._inner.store64(offset, value)


class Recorder:
    """A queue file that writes down what goes through it."""

    def __init__(self, inner: QueueFile) -> None:
        self.inner = inner
        self.space = Space(inner.space)
        self.recording: dict[str, Any] = {"type": 0, "buffers": [], "steps": []}
        self.tail = self.head = 0
        self._driven = True
        self._buffers: dict[int, int] = {}
        self._kept: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def set_queue_type(self, queue_type: int) -> int:
        self.recording["type"] = queue_type
        return self.inner.set_queue_type(queue_type)

    def queue_info(self) -> QueueInfo:
        return self.inner.queue_info()

    def map(self, kind: RegionKind) -> Any:
        region = self.inner.map(kind)
        if kind is RegionKind.MMIO:
            self._mmio = region
            return Doorbells(region, self)
        self.dus = region
        return region

    def unmap(self, region: Any) -> None:
        self.inner.unmap(self._mmio if isinstance(region, Doorbells) else region)

    # -- what is said -----------------------------------------------------------------------------------------

    def rung(self, value: int) -> None:
        """A doorbell is about to be rung."""
        command, index, arm = value >> 12 & 0xF, value >> 32 & 0xFFFF, value >> 48
        word = f"{value & ~QUEUE_BITS:#018x}"
        if command == 0:
            entries = []
            while self.tail != index:
                entries.append(self._submitted(self.dus.read(self.tail * SQE, SQE)))
                self.tail = (self.tail + 1) % DEPTH
            self.recording["steps"].append({"submit": entries, "doorbells": [word]})
        elif arm and index == self.head:
            self.recording["steps"].append({"complete": [], "doorbells": [word]})
        else:
            completions = []
            while self.head != index:
                completions.append(self._completed(self.dus.read(SQE * DEPTH + CQE * self.head, CQE)))
                self.head = (self.head + 1) % DEPTH
            self.recording["steps"].append({"complete": completions, "doorbells": [word]})

    def _submitted(self, sqe: bytes) -> dict[str, Any]:
        source, destination = struct.unpack_from("<2Q", sqe, 18 * 4)
        scattered = self._driven and struct.unpack_from("<I", sqe, 9 * 4)[0] & SCATTERED
        blank = sqe[: 18 * 4] + bytes(16) + sqe[22 * 4 :]
        return {
            "sqe": blank.hex(),
            "source": self._chain(source) if scattered else self._where(source),
            "destination": self._chain(destination) if scattered else self._where(destination),
        }

    def _where(self, address: int) -> Any:
        """Buffer and offset; the address as it is, if it is nobody's."""
        for first, nbytes, buffer, writable in self.space.granted:
            if first <= address < first + nbytes:
                number = self._buffers.get(id(buffer))
                if number is None:
                    number = self._buffers[id(buffer)] = len(self.recording["buffers"])
                    self._kept.append(buffer)
                    data = {"room": nbytes} if writable else {"data": packed(bytes(memoryview(buffer)))}  # type: ignore[arg-type]
                    self.recording["buffers"].append(data)
                return [number, address - first]
        return f"{address:#x}"

    def _memory(self, address: int, nbytes: int) -> bytes:
        for first, length, buffer, _ in self.space.granted:
            if first <= address < first + length:
                return bytes(memoryview(buffer).cast("B")[address - first : address - first + nbytes])  # type: ignore[arg-type]
        raise AssertionError(f"nobody granted {address:#x}")

    def _chain(self, address: int) -> dict[str, Any]:
        lists = []
        while address:
            head = self._memory(address, 64)
            address_of_next, _, valid = struct.unpack_from("<QHH", head)
            body = self._memory(address + 64, 32 * valid)
            entries = [struct.unpack_from("<QQI", body, 32 * index) for index in range(valid)]
            raw = bytearray(bytes(8) + head[8:48] + bytes(16) + body)
            for index in range(valid):
                raw[64 + 32 * index :][:8] = bytes(8)
                struct.pack_into("<Q", raw, 64 + 32 * index, 0)
                struct.pack_into("<Q", raw, 64 + 32 * index + 24, 0)  # the software's own
            lists.append(
                {
                    "raw": raw.hex(),
                    "entries": [self._where(entry[0]) for entry in entries],
                    "lengths": [entry[2] for entry in entries],
                }
            )
            address = address_of_next
        return {"lists": lists}

    def _completed(self, cqe: bytes) -> dict[str, str]:
        slot = int.from_bytes(cqe[8:10], "little")
        sqe = bytearray(self.dus.read(slot * SQE, SQE))
        produced, status = struct.unpack_from("<I", sqe, 4)[0], sqe[12]
        told: dict[str, str] = {}
        if self.recording["type"] == 1 and status == 0:
            told["output"] = hashlib.sha256(self._output(sqe, produced)).hexdigest()
        sqe[18 * 4 : 22 * 4] = bytes(16)
        return {"cqe": (cqe[:10] + bytes(2) + cqe[12:]).hex(), "sqe": bytes(sqe).hex(), **told}

    def _output(self, sqe: bytearray, nbytes: int) -> bytes:
        destination = struct.unpack_from("<Q", sqe, 20 * 4)[0]
        if not struct.unpack_from("<I", sqe, 9 * 4)[0] & SCATTERED:
            return self._memory(destination, nbytes)
        skip = struct.unpack_from("<I", sqe, 8 * 4)[0] & 0xFFFFFF
        data = b""
        while destination:
            following, _, valid = struct.unpack_from("<QHH", self._memory(destination, 64))
            for index in range(valid):
                at, _, length = struct.unpack_from("<QQI", self._memory(destination + 64 + 32 * index, 32))
                data += self._memory(at, length)
            destination = following
        return data[skip : skip + nbytes]

    # -- entries that no driver of ours makes -----------------------------------------------------------------

    def hostile(self, entry: bytes) -> None:
        """One entry by hand, and the completion of it."""
        self._driven = False  # no address is taken for one of lists
        self.dus.write(self.tail * SQE, entry)
        doorbells = Doorbells(self._mmio, self)
        number = self.number & QUEUE_BITS
        doorbells.store64(DOORBELL, number | (self.tail + 1) % DEPTH << 32)
        self.inner.pump()
        doorbells.store64(DOORBELL, number | 1 << 12 | (self.head + 1) % DEPTH << 32)


class Layer:
    """A program's files, with a recorder before each."""

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment
        self.recorders: list[Recorder] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._attachment, name)

    def open(self, name: str) -> Recorder:
        self.recorders.append(Recorder(self._attachment.open(name)))
        return self.recorders[-1]


def operations() -> list[tuple[str, list[Operation]]]:
    """Queue class -> bursts of it. No input is on the edge of being compressible: whether it is, is the compressor's affair."""
    chance = random.Random(7)
    noise = chance.randbytes(3000)
    compress: list[Operation] = [Nop()]
    decompress: list[Operation] = []
    for unit, wbits in (("zlib", 15), ("gzip", 31)):
        for nbytes in (40, 1000, 70_000):
            data = (text(1000, nbytes) * 70)[:nbytes]
            coder = zlib.compressobj(6, zlib.DEFLATED, wbits)
            body = coder.compress(data) + coder.flush()
            compress.append(Compress(data, unit))
            decompress.append(Decompress(body, unit, max_length=nbytes))
            decompress.append(Decompress(body, unit, max_length=nbytes - 1))
            decompress.append(Decompress([body[:20], body[20:]], unit, max_length=nbytes * 2))
        compress.append(Compress(noise, unit))
        compress.append(Compress([text(500, 1), b"", text(300, 2)], unit))
        compress.append(Compress([text(90, 5) * 2000, text(80, 6) * 2000], unit))
        compress.append(Compress(text(5000, 3), unit, into=bytearray(20)))
        good = zlib.compress(text(2000, 4), 6) if unit == "zlib" else gzip.compress(text(2000, 4), mtime=0)
        decompress.append(Decompress(good[:-1] + bytes([good[-1] ^ 1]), unit))
        decompress.append(Decompress(good[:-9], unit))
        decompress.append(Decompress(good[:12] + b"\xff\xff\xff" + good[15:], unit))
        decompress.append(Decompress(good + good, unit))
    return [("compress", compress * 4), ("decompress", decompress * 2)]


def drive(layer: Layer, node: NodeInfo, queue_class: str, work: Sequence[Operation]) -> Recorder:
    """Let our driver do it, in bursts of changing length; it arms now and then."""
    queue = ZipDevice(layer, node).open_queue(DEPTH, queue_class=queue_class)  # type: ignore[arg-type]
    recorder = layer.recorders[-1]
    entries = list(enumerate(work))
    burst, seen = 1, 0
    while seen < len(work):
        if entries and (count := queue.enqueue_burst(entries[:burst])):
            del entries[:count]
            burst = burst % 7 + 1
        found = queue.dequeue_burst(5)
        seen += len(found)
        if not found:
            queue.arm()
    queue.stop()
    queue.close()
    return recorder


def hostile(layer: Layer, kind: int) -> Recorder:
    """Descriptors that are wrong, on a queue without a driver."""
    recorder = layer.open(ZIP.name)
    recorder.map(RegionKind.DUS)
    recorder.map(RegionKind.MMIO)
    recorder.number = recorder.set_queue_type(kind)
    recorder.start()
    data, room = bytearray(text(900, 9)), bytearray(2000)
    source, destination = recorder.space.grant(data, False), recorder.space.grant(room, True)
    assert source == address_of(data)
    for words in ({}, *WRONG):
        fields = {4: len(data), 7: 1 << 25 | 1 << 27, 9: 2 | 4 << 12, 13: 0x1234, 14: len(room)}
        fields |= {
            18: source & 0xFFFFFFFF,
            19: source >> 32,
            20: destination & 0xFFFFFFFF,
            21: destination >> 32,
        }
        fields |= words
        recorder.hostile(struct.pack("<32I", *(fields.get(word, 0) for word in range(32))))
    recorder.put()
    recorder.inner.close()
    return recorder


#: Words instead of the right ones.
WRONG = (
    {9: 1 | 4 << 12},  # raw deflate
    {9: 2 | 5 << 12},  # no such window
    {9: 4 | 4 << 12},  # LZ4
    {9: 2 | 2 << 8},  # no such kind of buffer
    {7: 1 << 26},  # a stream
    {7: 1 << 28},  # no such type of descriptor
    {4: (8 << 20) + 1},  # too long
    {18: 0, 19: 0},  # nowhere
    {18: 0, 19: 0x7000},
    {18: 8, 19: 0, 9: 2 | 1 << 8 | 4 << 12},  # lists nowhere
)


def main() -> None:
    """Record, and write the corpus."""
    machine = Machine(Options(clock="virtual", depth=DEPTH, ram=32))
    layer = Layer(machine.attach())
    node = machine.discover()[-1]
    recorders = [drive(layer, node, queue_class, work) for queue_class, work in operations()]
    recorders += [hostile(layer, kind) for kind in (0, 1)]
    machine.close()
    CORPUS.write_text(
        json.dumps({"queues": [recorder.recording for recorder in recorders]}, indent=None) + "\n"
    )


if __name__ == "__main__":
    main()
