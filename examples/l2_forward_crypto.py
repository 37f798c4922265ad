"""Frames of a network device, each encrypted on an accelerator, over a wire, and decrypted on the other side.

Two network namespaces and a veth pair between them are made for it, so it needs iproute2 and root, or a namespace in which it is root;
AF_XDP's rings need root itself::

    unshare --map-root-user --net python -m examples.l2_forward_crypto --frames 10000
    sudo … --rings xdp --backend hip08

On the left, bursts of frames are sealed (AES-256-GCM, one operation for each frame, all of a burst in flight together) and put into the
rings that the kernel's network device shares with the program. On the right they are taken out of such rings, opened, and compared with
what was sent. A sealed frame keeps its addresses, and goes on with a number, the ciphertext and the tag. The addresses and the number
are authenticated; the number makes the nonce, so no nonce is used twice under a key that lives as long as the program.
"""

from __future__ import annotations

import argparse
import os
import random
import struct
import time
from collections.abc import Callable, Iterator
from typing import Final

import anyio

import wdasync
from examples.packet_rings import Port
from examples.packet_rings.netns import End, wire
from examples.packet_rings.tpacket import TpacketPort
from examples.packet_rings.xdp import XdpPort

RINGS: Final[dict[str, Callable[[str, int], Port]]] = {"tpacket": TpacketPort, "xdp": XdpPort}

#: An EtherType for experiments (IEEE 802), and what begins a frame: destination, source, EtherType.
ETHERTYPE, HEADER = 0x88B5, struct.Struct("!6s6sH")
NUMBER: Final = struct.Struct("!Q")
LEFT, RIGHT = b"\x02left\x00", b"\x02right"

#: Frames on their way at most: fewer than a ring has room for, so that none is dropped.
WINDOW: Final = 256


def frames(count: int, seed: int) -> Iterator[bytes]:
    """Frames of every usual length, of bytes that nobody can guess."""
    chance = random.Random(seed)
    for _ in range(count):
        yield HEADER.pack(RIGHT, LEFT, 0x0800) + chance.randbytes(chance.randint(46, 1500))


class Tunnel:
    """Both ends of it, and what came of it.

    :param acc: the accelerator
    :param left: where frames go into the wire
    :param right: where they come out
    """

    def __init__(self, acc: wdasync.Accelerator, left: Port, right: Port) -> None:
        self._aead = acc.aead("aes-256-gcm", os.urandom(32))
        self._salt = os.urandom(4)
        self._left, self._right = left, right
        self._room = anyio.Semaphore(WINDOW)
        self._sent: dict[int, bytes] = {}
        self.equal = self.different = self.nbytes = 0

    async def seal(self, number: int, frame: bytes) -> bytes:
        """The frame as it goes over the wire."""
        head = HEADER.pack(*HEADER.unpack_from(frame)[:2], ETHERTYPE) + NUMBER.pack(number)
        return head + await self._aead.encrypt(self._salt + NUMBER.pack(number), frame[12:], head)

    async def open(self, frame: bytes) -> None:
        """Compare what comes out of a frame with what went in."""
        head, sealed = frame[: HEADER.size + NUMBER.size], frame[HEADER.size + NUMBER.size :]
        number: int = NUMBER.unpack_from(head, HEADER.size)[0]
        plain = self._sent.pop(number, b"")
        try:
            found = head[:12] + await self._aead.decrypt(self._salt + NUMBER.pack(number), sealed, head)
        except wdasync.InvalidTag:
            found = None
        self.equal += found == plain
        self.different += found != plain
        self.nbytes += len(plain)
        self._room.release()

    async def send(self, source: Iterator[bytes], burst: int) -> None:
        """All frames, in bursts."""
        number = 0
        while plain := [frame for _, frame in zip(range(burst), source, strict=False)]:
            sealed: list[bytes] = [b""] * len(plain)

            async def seal(place: int, number: int, frame: bytes, into: list[bytes] = sealed) -> None:
                into[place] = await self.seal(number, frame)

            async with anyio.create_task_group() as group:
                for place, frame in enumerate(plain):
                    await self._room.acquire()
                    self._sent[number] = frame
                    group.start_soon(seal, place, number, frame)
                    number += 1
            while sealed := sealed[self._left.send_burst(sealed) :]:
                await anyio.wait_writable(self._left)

    async def receive(self, count: int) -> None:
        """So many frames; gives up when none has come for a while."""
        while count:
            while not (burst := self._right.receive_burst()):
                with anyio.fail_after(10):
                    await anyio.wait_readable(self._right)
            async with anyio.create_task_group() as group:
                for frame in burst:
                    group.start_soon(self.open, frame)
            count -= len(burst)


async def run(options: argparse.Namespace, left: Port, right: Port) -> bool:
    """Everything; whether all frames came out as they went in."""
    async with wdasync.open_accelerator(options.backend) as acc:
        tunnel, started = Tunnel(acc, left, right), time.perf_counter()
        async with anyio.create_task_group() as group:
            group.start_soon(tunnel.receive, options.frames)
            group.start_soon(tunnel.send, frames(options.frames, options.seed), options.burst)
        seconds = time.perf_counter() - started
        print(
            f"{tunnel.equal} frames equal, {tunnel.different} different, {right.dropped()} dropped; "
            f"{tunnel.nbytes} bytes in {seconds:.2f} s"
        )
        for place in acc.statistics().places:
            print(f"{place.name}: {place.completed} operations, {place.inline} of them inline")
        return bool(tunnel.equal == options.frames)


def main() -> int:
    """The command; 0 if all frames came out as they went in."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rings", choices=list(RINGS), default="tpacket", help="which of the kernel's (%(default)s)"
    )
    parser.add_argument("--frames", type=int, default=1000, help="how many (%(default)s)")
    parser.add_argument("--burst", type=int, default=32, help="how many at a time (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the frames' content (%(default)s)")
    parser.add_argument("--backend", help="as configured, if nothing is said")
    options = parser.parse_args()
    if options.frames < 1 or not 1 <= options.burst <= WINDOW:
        parser.error(f"expected at least one frame, and bursts of 1 to {WINDOW}")
    try:
        with wire() as ends:
            return forward(options, ends)
    except PermissionError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


def forward(options: argparse.Namespace, ends: tuple[End, End]) -> int:
    """Frames from one end to the other; what the program returns."""
    left, right = (end.run(lambda device: RINGS[options.rings](device, ETHERTYPE)) for end in ends)
    try:
        return 0 if anyio.run(run, options, left, right) else 1
    finally:
        left.close()
        right.close()


if __name__ == "__main__":
    raise SystemExit(main())
