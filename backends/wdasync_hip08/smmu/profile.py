"""What an implementation can do, as its identification registers say it. (IHI 0070, 6.3.1 to 6.3.7.)"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HIP08", "Profile"]

ADDRESS_BITS = (32, 36, 40, 42, 44, 48, 52, 56)
"""Output sizes by their encoding in IDR5.OAS, CD.IPS and STE.S2PS."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The identification registers; the default is both stages, stall or terminate, ATS and PRI, 48 bits."""

    idr0: int = 0x084D349B
    idr1: int = 0x01084510
    idr2: int = 0
    idr3: int = 0x1434
    idr4: int = 0
    idr5: int = 0x00100075
    iidr: int = 0
    aidr: int = 2


HIP08 = Profile()
"""What our chip has: 16 StreamID bits, 20 SubstreamID bits, queues of 256, at most 16 stalls at a time."""
