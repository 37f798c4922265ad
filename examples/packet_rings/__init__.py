"""Rings of frames that the kernel's network devices share with a program; for :mod:`examples.l2_forward_crypto`.

Two kinds: :mod:`.tpacket` (AF_PACKET, TPACKET_V3, everywhere) and :mod:`.xdp` (AF_XDP, where the kernel has it). Both are what an
accelerator's queue is, too: memory that two sides know, an index that one of them moves, a descriptor to sleep on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Port"]


class Port(Protocol):
    """One network device, by its rings. No method waits."""

    def receive_burst(self) -> list[bytes]:
        """The frames that have come, as many as the kernel hands over at once; empty: none."""

    def send_burst(self, frames: Sequence[bytes]) -> int:
        """Send as many as there is room for, in order; how many that were."""

    def fileno(self) -> int:
        """Readable when frames have come, writable when there is room."""

    def dropped(self) -> int:
        """Frames that came while there was no room for them, since the last call."""

    def close(self) -> None:
        """Give everything back."""
