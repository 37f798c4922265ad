"""AF_PACKET with TPACKET_V3, packet(7): frames arrive in blocks that the kernel fills, and leave from slots of a ring.

Receiving: the kernel fills a block, hands it over by setting ``TP_STATUS_USER`` in it, and goes on with the next; the program
hands it back by clearing that. A block that is not full is handed over after :data:`RETIRE` milliseconds.
Sending: the program fills a slot, sets ``TP_STATUS_SEND_REQUEST``, and tells the kernel to look, once for a whole burst.
"""

from __future__ import annotations

import mmap
import socket
import struct
from collections.abc import Sequence
from typing import Final

from .words import Words

__all__ = ["TpacketPort"]

#: Constants of <linux/socket.h> and <linux/if_packet.h>.
SOL_PACKET = 263
PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION, PACKET_TX_RING = 5, 6, 10, 13
PACKET_QDISC_BYPASS, PACKET_IGNORE_OUTGOING, TPACKET_V3 = 20, 23, 2
TP_STATUS_USER, TP_STATUS_SEND_REQUEST, TP_STATUS_WRONG_FORMAT = 1, 1, 4

#: struct tpacket_req3: block size, blocks, frame size, frames, time-out in ms, private bytes, features.
REQUEST: Final = struct.Struct("7I")
#: struct tpacket_hdr_v1 within a block: its status, packets, offset of the first.
BLOCK_STATUS, BLOCK = 8, struct.Struct("II")
#: struct tpacket3_hdr: offset of the next packet, bytes here, bytes on the wire; where its status, and the frame's offset lie.
NEXT, LENGTHS, STATUS, MAC = struct.Struct("I"), struct.Struct("II"), 20, struct.Struct("H")
LENGTHS_AT, MAC_AT, HEADER = 12, 24, 48

BLOCK_SIZE: Final = 64 << 10
BLOCKS: Final = 32
SLOT_SIZE: Final = 4096
SLOTS: Final = 512
RETIRE: Final = 1


class TpacketPort:
    """Both rings of one network device.

    :param device: its name
    :param protocol: EtherType of the frames that are received
    """

    def __init__(self, device: str, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._block = self._slot = 0
        try:
            for option, value in (
                (PACKET_VERSION, TPACKET_V3),
                (PACKET_IGNORE_OUTGOING, 1),
                (PACKET_QDISC_BYPASS, 1),
            ):
                self._socket.setsockopt(SOL_PACKET, option, value)
            received = BLOCK_SIZE, BLOCKS, SLOT_SIZE, BLOCK_SIZE // SLOT_SIZE * BLOCKS, RETIRE, 0, 0
            sent = SLOT_SIZE, SLOTS, SLOT_SIZE, SLOTS, 0, 0, 0
            self._socket.setsockopt(SOL_PACKET, PACKET_RX_RING, REQUEST.pack(*received))
            self._socket.setsockopt(SOL_PACKET, PACKET_TX_RING, REQUEST.pack(*sent))
            self._slots = BLOCK_SIZE * BLOCKS  # the ring for sending lies behind the other
            self._words = Words(mmap.mmap(self._socket.fileno(), self._slots + SLOT_SIZE * SLOTS))
            self._socket.bind((device, protocol))
        except BaseException:
            self._socket.close()
            raise

    def receive_burst(self) -> list[bytes]:
        """See :class:`~examples.packet_rings.Port`."""
        block = self._block * BLOCK_SIZE
        if not self._words.load(block + BLOCK_STATUS) & TP_STATUS_USER:
            return []
        view, frames = self._words.view, []
        count, offset = BLOCK.unpack_from(view, block + BLOCK_STATUS + 4)
        at = block + offset
        for _ in range(count):
            length, _ = LENGTHS.unpack_from(view, at + LENGTHS_AT)
            start = at + MAC.unpack_from(view, at + MAC_AT)[0]
            frames.append(bytes(view[start : start + length]))
            at += NEXT.unpack_from(view, at)[0]
        self._words.store(block + BLOCK_STATUS, 0)
        self._block = (self._block + 1) % BLOCKS
        return frames

    def send_burst(self, frames: Sequence[bytes]) -> int:
        """See :class:`~examples.packet_rings.Port`."""
        sent = 0
        for frame in frames:
            slot = self._slots + self._slot * SLOT_SIZE
            status = self._words.load(slot + STATUS)
            if status & TP_STATUS_WRONG_FORMAT:
                raise OSError(f"slot {self._slot}: the kernel refuses the frame in it")
            if status & 3:  # still to be sent, or being sent
                break
            if len(frame) > SLOT_SIZE - HEADER:
                raise ValueError(f"frame: expected at most {SLOT_SIZE - HEADER} bytes, got {len(frame)}")
            self._words.view[slot + HEADER : slot + HEADER + len(frame)] = frame
            LENGTHS.pack_into(self._words.view, slot + LENGTHS_AT, len(frame), len(frame))
            self._words.store(slot + STATUS, TP_STATUS_SEND_REQUEST)
            self._slot = (self._slot + 1) % SLOTS
            sent += 1
        try:
            self._socket.send(b"")
        except BlockingIOError:
            pass  # what is in the ring is sent with the next burst, or when somebody waits for room
        return sent

    def fileno(self) -> int:
        """See :class:`~examples.packet_rings.Port`."""
        return self._socket.fileno()

    def dropped(self) -> int:
        """See :class:`~examples.packet_rings.Port`."""
        _, drops, _ = struct.unpack("3I", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12))
        return int(drops)

    def close(self) -> None:
        """See :class:`~examples.packet_rings.Port`."""
        self._words.close()
        self._socket.close()
