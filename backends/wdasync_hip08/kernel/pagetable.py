"""Page tables as the kernel makes them for a device: VMSAv8-64, stage 1, 4 KiB pages, 48-bit addresses.

Four levels of 512 entries of 8 bytes; each table is one page. An entry is one aligned 64-bit store, so a walker sees
the old or the new one. Only pages are used, no blocks: a program's memory is handed out page by page.
(Arm DDI 0487, D8.3; IHI 0070, 3.4.)
"""

from __future__ import annotations

from wdasync_hip08.memory import PAGE, Ram

__all__ = ["LEAF_ENTRIES", "PAGE_BITS", "READ_ONLY_PAGE_BITS", "PageTable", "page_descriptor"]

LEVELS = 4
INDEX_BITS = 9
INDEX = (1 << INDEX_BITS) - 1
#: Pages of one level-3 table.
LEAF_ENTRIES = 1 << INDEX_BITS

VALID = 1 << 0
TABLE_OR_PAGE = 1 << 1
AP_UNPRIVILEGED = 1 << 6
AP_READ_ONLY = 1 << 7
INNER_SHAREABLE = 3 << 8
ACCESS_FLAG = 1 << 10
NOT_GLOBAL = 1 << 11
PXN = 1 << 53
UXN = 1 << 54

#: What every page of a program has: normal memory, known to the access-flag logic, of one address space, no code.
PAGE_BITS = VALID | TABLE_OR_PAGE | AP_UNPRIVILEGED | INNER_SHAREABLE | ACCESS_FLAG | NOT_GLOBAL | PXN | UXN
READ_ONLY_PAGE_BITS = PAGE_BITS | AP_READ_ONLY
ADDRESS = ((1 << 48) - 1) & ~(PAGE - 1)


def page_descriptor(pa: int, writable: bool) -> int:
    """The level-3 entry for a program's page."""
    return pa | (PAGE_BITS if writable else READ_ONLY_PAGE_BITS)


class PageTable:
    """One translation table in RAM.

    :ivar root: its physical address, for ``CD.TTB0``
    """

    def __init__(self, ram: Ram) -> None:
        self._ram = ram
        self.root = ram.allocate(PAGE)
        self._tables = [self.root]
        #: Virtual page number >> 9 → physical address of its level-3 table.
        self._leaves: dict[int, int] = {}

    def entry(self, vpn: int) -> int:
        """Physical address of the level-3 entry of virtual page ``vpn``; its tables are made if need be.

        :raises MemoryError: there is no RAM for them
        """
        leaf = self._leaves.get(vpn >> INDEX_BITS)
        if leaf is None:
            leaf = self._leaves[vpn >> INDEX_BITS] = self._make(vpn)
        return leaf + (vpn & INDEX) * 8

    def _make(self, vpn: int) -> int:
        table = self.root
        for level in range(LEVELS - 1, 0, -1):
            entry = table + (vpn >> level * INDEX_BITS & INDEX) * 8
            descriptor = self._ram.read64(entry)
            if not descriptor & VALID:
                table = self._ram.allocate(PAGE)
                self._tables.append(table)
                self._ram.write64(entry, table | VALID | TABLE_OR_PAGE)
            else:
                table = descriptor & ADDRESS
        return table

    def host_entry(self, vpn: int) -> int:
        """Where :meth:`entry` is in this process; the entries of the pages behind it follow, up to the end of the leaf."""
        return self._ram.host(self.entry(vpn))

    def set(self, vpn: int, descriptor: int) -> None:
        """Store one entry; 0 takes the page away."""
        self._ram.write64(self.entry(vpn), descriptor)

    def get(self, vpn: int) -> int:
        """The entry of a page; 0 if there is none."""
        return self._ram.read64(self.entry(vpn)) if vpn >> INDEX_BITS in self._leaves else 0

    def close(self) -> None:
        """Give the tables back. Nobody may walk them any more."""
        for table in self._tables:
            self._ram.free(table)
        self._tables.clear()
        self._leaves.clear()

    def __repr__(self) -> str:
        return f"<PageTable at {self.root:#x}, {len(self._tables)} tables>"
