"""AF_XDP: four rings of descriptors over one piece of memory (the UMEM) that the program and the kernel share.

The program gives empty chunks in the *fill* ring; frames that came are descriptors in the *receive* ring. Frames to send are descriptors
in the *transmit* ring; chunks that were sent come back in the *completion* ring. Each ring is an array with a producer's and a
consumer's index, which only count up. What makes the device hand frames over is a program for it, see :mod:`.bpf`.
Documentation/networking/af_xdp.rst of Linux.
"""

from __future__ import annotations

import mmap
import socket
import struct
from collections.abc import Sequence
from typing import Final

from . import bpf
from .words import Words, bind

__all__ = ["XdpPort"]

#: Constants of <linux/if_xdp.h> and <linux/socket.h>.
AF_XDP, SOL_XDP = 44, 283
XDP_MMAP_OFFSETS, XDP_RX_RING, XDP_TX_RING, XDP_UMEM_REG = 1, 2, 3, 4
XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_STATISTICS = 5, 6, 7
XDP_COPY: Final = 2

#: Socket option -> where mmap finds the ring that it makes.
PAGE_OFFSETS: Final = {
    XDP_RX_RING: 0,
    XDP_TX_RING: 0x8000_0000,
    XDP_UMEM_FILL_RING: 0x1_0000_0000,
    XDP_UMEM_COMPLETION_RING: 0x1_8000_0000,
}
#: The order in which XDP_MMAP_OFFSETS tells of them: producer, consumer, descriptors, flags of each.
TOLD: Final = (XDP_RX_RING, XDP_TX_RING, XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING)

#: struct xdp_desc: offset in the UMEM, bytes, options; a chunk of the other rings is an offset alone.
DESCRIPTOR, CHUNK = struct.Struct("QII"), struct.Struct("Q")

RING: Final = 512
CHUNK_SIZE: Final = 4096
#: Frames that the kernel sends at most when it is told to look.
BATCH: Final = 32
MASK_32: Final = 0xFFFF_FFFF


class Ring:
    """One of the four.

    :param options: the socket, and what makes the ring
    :param offsets: of the producer's index, the consumer's, and the first entry
    :param entry: layout of an entry
    """

    def __init__(
        self, port: socket.socket, option: int, offsets: Sequence[int], entry: struct.Struct
    ) -> None:
        self._producer, self._consumer, self._first, _ = offsets
        self._entry = entry
        size = self._first + RING * entry.size
        self._words = Words(mmap.mmap(port.fileno(), size, offset=PAGE_OFFSETS[option]))
        self._ours = 0  # the index that we move

    def put(self, entries: Sequence[tuple[int, ...]]) -> int:
        """As the producer: as many as there is room for."""
        room = RING - (self._ours - self._words.load(self._consumer) & MASK_32)
        count = min(room, len(entries))
        for number, entry in enumerate(entries[:count]):
            at = self._first + (self._ours + number) % RING * self._entry.size
            self._entry.pack_into(self._words.view, at, *entry)
        self._ours += count
        self._words.store(self._producer, self._ours & MASK_32)
        return count

    def take(self) -> list[tuple[int, ...]]:
        """As the consumer: what is there. Its entries are free for the producer only after :meth:`give_back`."""
        there = self._words.load(self._producer) - self._ours & MASK_32
        ats = (self._first + (self._ours + number) % RING * self._entry.size for number in range(there))
        entries = [self._entry.unpack_from(self._words.view, at) for at in ats]
        self._ours += there
        return entries

    def give_back(self) -> None:
        """As the consumer: everything that was taken may be overwritten."""
        self._words.store(self._consumer, self._ours & MASK_32)

    def close(self) -> None:
        """Unmap it."""
        self._words.close()


class XdpPort:
    """The rings of queue 0 of one network device, which copies frames into them.

    :param device: its name
    :param protocol: EtherType of the frames that are received
    :raises OSError: if the kernel has no such sockets, or the device none
    """

    def __init__(self, device: str, protocol: int) -> None:
        self._protocol = protocol.to_bytes(2, "big")
        self._dropped = 0
        self._socket = socket.socket(AF_XDP, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._program: bpf.Redirection | None = None
        try:
            self._memory = Words(mmap.mmap(-1, 2 * RING * CHUNK_SIZE))
            about = struct.pack("QQIIII", self._memory.address, 2 * RING * CHUNK_SIZE, CHUNK_SIZE, 0, 0, 0)
            self._socket.setsockopt(SOL_XDP, XDP_UMEM_REG, about)
            for option in TOLD:
                self._socket.setsockopt(SOL_XDP, option, RING)
            told = struct.unpack("16Q", self._socket.getsockopt(SOL_XDP, XDP_MMAP_OFFSETS, 128))
            layouts = (DESCRIPTOR, DESCRIPTOR, CHUNK, CHUNK)
            self._received, self._transmit, self._fill, self._completed = (
                Ring(self._socket, option, told[4 * number : 4 * number + 4], layouts[number])
                for number, option in enumerate(TOLD)
            )
            index = socket.if_nametoindex(device)
            bind(self._socket, struct.pack("HHIII", AF_XDP, XDP_COPY, index, 0, 0))
            self._fill.put([(number * CHUNK_SIZE,) for number in range(RING)])
            self._free = [(RING + number) * CHUNK_SIZE for number in range(RING)]
            self._program = bpf.Redirection(index, self._socket.fileno())
        except BaseException:
            self._socket.close()
            raise

    def receive_burst(self) -> list[bytes]:
        """See :class:`~examples.packet_rings.Port`."""
        entries = self._received.take()
        if not entries:
            return []
        view = self._memory.view
        frames = [bytes(view[at : at + length]) for at, length, _ in entries]
        self._received.give_back()
        self._fill.put([(at // CHUNK_SIZE * CHUNK_SIZE,) for at, _, _ in entries])
        return [frame for frame in frames if frame[12:14] == self._protocol]

    def send_burst(self, frames: Sequence[bytes]) -> int:
        """See :class:`~examples.packet_rings.Port`."""
        self._free += [at for (at,) in self._completed.take()]
        self._completed.give_back()
        entries = []
        for frame in frames[: len(self._free)]:
            if len(frame) > CHUNK_SIZE:
                raise ValueError(f"frame: expected at most {CHUNK_SIZE} bytes, got {len(frame)}")
            at = self._free.pop()
            self._memory.view[at : at + len(frame)] = frame
            entries.append((at, len(frame), 0))
        sent = self._transmit.put(entries)
        self._free += [at for at, _, _ in entries[sent:]]
        for _ in range(RING // BATCH + 1):
            try:
                self._socket.send(b"", socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue  # there is more
            break
        return sent

    def fileno(self) -> int:
        """See :class:`~examples.packet_rings.Port`."""
        return self._socket.fileno()

    def dropped(self) -> int:
        """See :class:`~examples.packet_rings.Port`."""
        statistics = struct.unpack("6Q", self._socket.getsockopt(SOL_XDP, XDP_STATISTICS, 48))
        total = statistics[0] + statistics[3]  # no chunk was free, or the ring was full
        drops, self._dropped = total - self._dropped, total
        return int(drops)

    def close(self) -> None:
        """See :class:`~examples.packet_rings.Port`."""
        if self._program is not None:
            self._program.close()
        for ring in (self._received, self._transmit, self._fill, self._completed):
            ring.close()
        self._socket.close()
        self._memory.close()
