"""The settings of the emulated chip."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["PRIVATE", "Options"]

#: Name of a chip that nobody else has.
PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class Options:
    """What users may set, with the defaults. They are of a chip: other settings are another one."""

    chip: str = field(
        default="shared",
        metadata={
            "help": "which chip: accelerators of one process that name the same, with the same settings, share it; private is one "
            "that nobody else has"
        },
    )
    generation: int = field(
        default=2,
        metadata={
            "help": "version of the queue manager: 2 is the Kunpeng 920; 3, the 920B, has elliptic curves and further cipher modes"
        },
    )
    memory: str = field(
        default="sva",
        metadata={
            "help": "how the device reaches memory: sva (by the program's own addresses), private (DMA mappings of each "
            "process, behind a PASID), function (DMA mappings of one process, which owns the function) or reserved (a region "
            "through which everything is copied)"
        },
    )
    residency: str = field(
        default="mirror",
        metadata={
            "help": "with sva, which pages of a buffer the device finds present: mirror (those that the host has), cold (none: each "
            "first touch is a page fault) or pinned (all)"
        },
    )
    consuming: bool = field(
        default=False,
        metadata={
            "help": "the queue's descriptor loses its readiness as the kernel's does, before it is registered too"
        },
    )
    depth: int = field(
        default=1024, metadata={"help": "entries of a queue's rings, a power of two up to 1024"}
    )
    region: int = field(default=4, metadata={"help": "with reserved, MiB of each queue's region"})
    queues: int = field(default=64, metadata={"help": "hardware queues of the device"})
    engines: int = field(
        default=2,
        metadata={
            "help": "threads for heavy work that the CPU backend's workers do not do, such as inflating"
        },
    )
    window: int = field(default=4, metadata={"help": "entries of one queue that are in work at a time"})
    seed: int = field(
        default=0, metadata={"help": "scrambles the physical addresses", "least": 0, "most": (1 << 64) - 1}
    )
    tlb_entries: int = field(default=64, metadata={"help": "translations that the SMMU remembers"})
    stall_quota: int = field(
        default=8,
        metadata={
            "help": "page faults of one address space that wait at a time on one device; of the 16 of all, the last four are "
            "for those that have none there"
        },
    )
    fault_deadline: float = field(
        default=5.0,
        metadata={
            "help": "seconds that a fault handler or pager may take; 0: for ever",
            "least": 0.0,
            "most": 1e9,
        },
    )
    restartable: bool = field(
        default=False, metadata={"help": "putting a queue leaves it restartable, as newer kernels do"}
    )
    clock: str = field(
        default="real",
        metadata={
            "help": "real, or virtual: nothing uses threads, and no fault_deadline passes until a queue is closed"
        },
    )
    ram: int = field(default=256, metadata={"help": "MiB of memory for tables and rings"})
    trace: str = field(
        default="",
        metadata={
            "help": "file for a trace of every request: .txt a timeline, else JSON for Perfetto or chrome://tracing"
        },
    )

    def __post_init__(self) -> None:
        """Check what a type cannot say.

        :raises ValueError: an option has a value that the chip cannot work with
        """
        if not self.chip:
            raise ValueError(f"chip: expected a name, or {PRIVATE}, got an empty one")
        for name, allowed in (
            ("memory", ("sva", "private", "function", "reserved")),
            ("residency", ("mirror", "cold", "pinned")),
            ("clock", ("real", "virtual")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: expected one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.memory != "sva" and self.residency != "mirror":
            raise ValueError(
                f"residency: expected nothing with memory={self.memory}, where all pages are there, got "
                f"{self.residency!r}; only with memory=sva may they be absent"
            )
        if not 2 <= self.depth <= 1024 or self.depth & self.depth - 1:
            raise ValueError(f"depth: expected a power of two from 2 to 1024, got {self.depth}")
        for name, least, most in (
            ("generation", 2, 3), ("queues", 1, 1024), ("engines", 1, 64), ("window", 1, 64), ("tlb_entries", 1, 1 << 20),
            ("stall_quota", 1, 16), ("ram", 16, 1 << 16), ("region", 1, 255),
        ):  # fmt: skip
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}: expected {least} to {most}, got {getattr(self, name)}")
        if not 0 <= self.fault_deadline <= 1e9:
            raise ValueError(f"fault_deadline: expected seconds from 0 to 1e9, got {self.fault_deadline}")
