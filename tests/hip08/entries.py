"""A queue of any engine and memory for its entries, as raw as can be."""

from __future__ import annotations

from wdasync_hip08.backings import Memfd
from wdasync_hip08.functions import Function
from wdasync_hip08.kernel.spaces import Space
from wdasync_hip08.memory import PAGE
from wdasync_uacce.files import RegionKind

from .lone_machine import LoneMachine

__all__ = ["VA", "Entries"]

VA = 0x5678_0000_0000
PAGES = 64


class Entries:
    """One queue, and a made-up space with 64 pages from :data:`VA` on, all of them granted.

    :param space: whose it is; ``None``: a new one
    """

    def __init__(
        self,
        machine: LoneMachine,
        function: Function,
        queue_type: int = 0,
        space: Space | None = None,
        memory: Memfd | None = None,
    ) -> None:
        self.machine = machine
        if space is None or memory is None:
            space = machine.new_space("program")
            memory = machine.map_memory(space, VA, PAGES * PAGE)
            space.grant(VA, PAGES * PAGE, writable=True)
        self.space, self.memory = space, memory
        self.nbytes = function.entry_bytes
        self.file = machine.open(function.name, space)
        self.share, self.doorbell = self.file.map(RegionKind.DUS), self.file.map(RegionKind.MMIO)
        self.number = self.file.set_queue_type(queue_type)
        self.file.start()
        self.tail = 0
        self.free = VA

    def place(self, data: bytes) -> int:
        """Put data into the program's memory; its address."""
        address = self.free
        self.memory.poke(address - VA, data)
        self.free += -(-len(data) // 64) * 64
        assert self.free <= VA + PAGES * PAGE
        return address

    def room(self, nbytes: int) -> int:
        """Room in the program's memory; its address."""
        return self.place(b"\xee" * nbytes)

    def peek(self, address: int, nbytes: int) -> bytes:
        """What is in the program's memory."""
        return self.memory.peek(address - VA, nbytes)

    def submit(self, entry: bytes) -> int:
        """Submit one entry; its slot."""
        slot = self.tail
        self.share.write(slot * self.nbytes, entry)
        self.tail += 1
        self.doorbell.store64(0x1000, self.number | self.tail << 32)
        return slot

    def entry(self, slot: int) -> bytes:
        """What is in a slot."""
        return self.share.read(slot * self.nbytes, self.nbytes)

    def run(self, entry: bytes) -> bytes:
        """The entry as the device wrote it back."""
        slot = self.submit(entry)
        self.machine.run()
        return self.entry(slot)
