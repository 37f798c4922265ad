"""How many queues are opened, and at which device.

Either a number, which holds for each device and each of its queue classes, or a list as users of UADK write it in
``WD_COMP_CTX_NUM``: ``sync-comp:10@0,async-decomp:20@1`` are 10 queues that compress and 20 that decompress, where
UADK's own rules hold (docs/wd_environment_variable, section 3):

* the nodes of all items are used, and each of them gets the same;
* of several items for the same, the largest counts;
* an item for 0 queues is as if it were not there.

What UADK keeps apart as ``sync`` and ``async`` is added up: here every queue is waited for without blocking. An item may
also be for both directions, as UADK writes it of other algorithms: ``sync:2@0``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from .backend import Capabilities
from .operations import Kind

__all__ = ["GRAMMAR", "QueueCounts"]

#: What is expected, for errors.
GRAMMAR: Final = "a number of queues, or a list of sync-comp, sync-decomp, async-comp, async-decomp, sync or async, each with :queues@node"

_ITEM: Final = re.compile(r"(sync|async)(?:-(comp|decomp))?:(\d+)@(\d+)", re.ASCII)

#: More queues of one kind than any device has.
MOST: Final = 4096

#: Direction as UADK writes it -> what is done in it.
_KINDS: Final[Mapping[str, frozenset[Kind]]] = {
    "comp": frozenset({Kind.COMPRESS, Kind.COMPRESS_CHUNK}),
    "decomp": frozenset({Kind.DECOMPRESS, Kind.DECOMPRESS_CHUNK}),
}


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many queues to open. See :meth:`parse`.

    :ivar each: for each device and class; not looked at if there is a list
    :ivar nodes: the memory nodes whose devices are used; empty: there is no list
    :ivar items: (sync or async, direction or nothing) -> queues at each of these nodes
    """

    each: int = 1
    nodes: frozenset[int] = frozenset()
    items: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: int | str) -> QueueCounts:
        """What somebody wrote.

        :raises ValueError: if it is neither a number nor such a list; the text says what is wrong
        """
        if isinstance(value, int) or value.strip().isdecimal():
            if not 1 <= int(value) <= MOST:
                raise ValueError(f"{GRAMMAR}; at least 1 of them, and at most {MOST}")
            return cls(int(value))
        items: dict[tuple[str, str], int] = {}
        nodes: set[int] = set()
        for part in value.split(","):
            match = _ITEM.fullmatch(part.strip())
            if match is None:
                raise ValueError(f"{GRAMMAR}; {part.strip()!r} is none of these")
            mode, direction, count, node = match[1], match[2] or "", int(match[3]), int(match[4])
            if count > MOST:
                raise ValueError(f"{GRAMMAR}; at most {MOST} of them, in {part.strip()!r}")
            if count:
                nodes.add(node)
                items[mode, direction] = max(count, items.get((mode, direction), 0))
        if not items:
            raise ValueError(f"{GRAMMAR}; this opens no queue at all")
        return cls(0, frozenset(nodes), items)

    def of_class(self, capabilities: Capabilities, queue_class: str) -> int:
        """Queues of one class, at each node; or, if there is no list, at each device.

        A list says nothing of a class that neither compresses nor decompresses: it has one queue.
        """
        if not self.nodes:
            return self.each
        directions = _directions(capabilities, queue_class)
        if not directions:
            return 1
        return sum(count for (_, name), count in self.items.items() if not name or name in directions)

    def deal(self, devices: Sequence[tuple[Capabilities, int | None]]) -> list[dict[str, int]]:
        """Queues of each class that each device of a backend opens.

        Of a list, those at one node share what it has for a class that they all have. A class that a list says nothing of, and a
        device that is everywhere, have one queue each.

        :param devices: what each can do, and the node where it is
        """
        return [
            {name: self._share(devices, place, name) for name in capabilities.queue_classes}
            for place, (capabilities, _) in enumerate(devices)
        ]

    def _share(self, devices: Sequence[tuple[Capabilities, int | None]], place: int, queue_class: str) -> int:
        capabilities, node = devices[place]
        total = self.of_class(capabilities, queue_class)
        if not self.nodes:
            return total
        if node is None or not _directions(capabilities, queue_class):
            return 1
        if node not in self.nodes:
            return 0
        peers = [
            other
            for other, (able, where) in enumerate(devices)
            if where == node and _directions(able, queue_class)
        ]
        return total // len(peers) + (peers.index(place) < total % len(peers))


def _directions(capabilities: Capabilities, queue_class: str) -> set[str]:
    """What a list may say of a class."""
    kinds = {row.kind for row in capabilities if row.queue_class == queue_class}
    return {name for name, meant in _KINDS.items() if meant & kinds}
