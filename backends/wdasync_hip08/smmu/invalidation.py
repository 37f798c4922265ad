"""Invalidations: which cached translations and configurations a command is about. (IHI 0070, 4.3 and 4.4.)"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from wdasync_hip08.smmu.access import Access
from wdasync_hip08.smmu.commands import Command, Opcode
from wdasync_hip08.smmu.configuration import Configuration
from wdasync_hip08.smmu.geometry import TLBI_TG
from wdasync_hip08.smmu.profile import Profile
from wdasync_hip08.smmu.regime import KEY_ASID, KEY_STAGE2_ONLY, KEY_VMID, KEY_WORLD, Tag
from wdasync_hip08.smmu.tlb import Tlb, TlbEntry

__all__ = ["TLBI_SCOPES", "Asid", "Concerned", "Invalidations", "Scope"]

ALL_BITS = (1 << 64) - 1

ADDRESS_BITS = (1 << 56) - 1
"""Address bits that are compared: the top byte may be a tag."""

NOTED_MAX = 256
"""Software that never synchronises does not fill memory: invalidations may take effect early."""


class Asid(enum.Enum):
    """Which ASIDs a command is about."""

    ANY = "any"
    ONLY = "the command's"
    OR_GLOBAL = "the command's, and global entries"


@dataclass(frozen=True, slots=True)
class Scope:
    """Which TLB entries a command drops. Called, it tells of one; C asks for the same by :meth:`bits` and addresses.

    :ivar world: 1 for EL1, 2 for EL2; ``None``: either
    :ivar stage2_only: entries by intermediate address; ``None``: either
    :ivar vmid: only those of the command's VMID
    :ivar address: only those that cover some of the command's addresses
    """

    world: int | None = None
    stage2_only: bool | None = None
    vmid: bool = False
    asid: Asid = Asid.ANY
    address: bool = False

    def __call__(self, command: Command, entry: TlbEntry) -> bool:
        return self.includes(command, entry.tag) and (not self.address or _covers(command, entry))

    def includes(self, command: Command, tag: Tag) -> bool:
        """Whether it is about the address space with this tag."""
        return (
            self.world in (None, tag.world)
            and self.stage2_only in (None, tag.stage2_only)
            and (not self.vmid or tag.vmid == command.vmid)
            and (self.asid is Asid.ANY or tag.asid in self._asids(command))
        )

    def _asids(self, command: Command) -> tuple[int, int | None]:
        return command.asid, None if self.asid is Asid.OR_GLOBAL else command.asid

    def bits(self, command: Command) -> tuple[int, tuple[int, int]]:
        """Which bits of :attr:`Tag.key` count, and the two values that they may have."""
        mask = KEY_VMID if self.vmid else 0
        value = command.vmid << 4 if self.vmid else 0
        if self.world is not None:
            mask, value = mask | KEY_WORLD, value | self.world
        if self.stage2_only is not None:
            mask, value = mask | KEY_STAGE2_ONLY, value | KEY_STAGE2_ONLY * self.stage2_only
        if self.asid is Asid.ANY:
            return mask, (value, value)
        first, other = (
            value | (0 if asid is None else asid + 1) << KEY_ASID for asid in self._asids(command)
        )
        return mask | -1 << KEY_ASID & ALL_BITS, (first, other)


def _addresses(command: Command) -> tuple[int, int]:
    """First and last address that a command names.

    Without TG the address is one of any granule. With TG it is the beginning of a range.
    """
    address = command.addr & ADDRESS_BITS
    size = (command.num + 1 << command.scale) << TLBI_TG[command.tg] if command.tg else 1
    return address, address + size - 1


def _covers(command: Command, entry: TlbEntry) -> bool:
    """The entry covers some of the addresses, and the hints of the command fit it.

    With TG, entries of another granule or (TTL) of another level need not be dropped: software that lies about them
    keeps stale entries.
    """
    if command.tg and (entry.granule != TLBI_TG[command.tg] or command.level_hint not in (0, entry.level)):
        return False
    first, last = _addresses(command)
    return first < entry.address + entry.size and entry.address <= last


_EL1 = Scope(world=1, stage2_only=False, vmid=True)
_EL2 = Scope(world=2)

#: Which TLB entries a command drops. By-ASID commands keep global entries; S2_IPA keeps combined entries, so it has
#: to be followed by a command for these.
TLBI_SCOPES: dict[Opcode, Callable[[Command, TlbEntry], bool]] = {
    Opcode.TLBI_NH_ALL: _EL1,
    Opcode.TLBI_NH_ASID: replace(_EL1, asid=Asid.ONLY),
    Opcode.TLBI_NH_VA: replace(_EL1, asid=Asid.OR_GLOBAL, address=True),
    Opcode.TLBI_NH_VAA: replace(_EL1, address=True),
    Opcode.TLBI_EL2_ALL: _EL2,
    Opcode.TLBI_EL2_ASID: replace(_EL2, asid=Asid.ONLY),
    Opcode.TLBI_EL2_VA: replace(_EL2, asid=Asid.OR_GLOBAL, address=True),
    Opcode.TLBI_EL2_VAA: replace(_EL2, address=True),
    Opcode.TLBI_S12_VMALL: Scope(world=1, vmid=True),
    Opcode.TLBI_S2_IPA: Scope(stage2_only=True, vmid=True, address=True),
    Opcode.TLBI_NSNH_ALL: Scope(world=1),
}


#: Whether an access, with the tag of its translations (``None``: unknown), was concerned by invalidations.
Concerned: TypeAlias = Callable[[Access, Tag | None], bool]


def _concerns(command: Command, access: Access, tag: Tag | None) -> bool:
    """Whether an invalidation may be about what an access found. Addresses are not compared: of a fault nobody knows
    how large a mapping software has put there since.
    """
    match command.opcode:
        case Opcode.CFGI_STE | Opcode.CFGI_CD_ALL:
            return command.sid == access.sid
        case Opcode.CFGI_STE_RANGE:
            return (command.sid ^ access.sid) & -(2 << command.range) == 0
        case Opcode.CFGI_CD:
            return (command.sid, command.ssid) == (access.sid, access.ssid or 0)
        case Opcode.TLBI_S2_IPA:  # It may be behind a stage 1.
            return tag is None or tag.vmid == command.vmid
    scope = TLBI_SCOPES[command.opcode]
    return tag is None or not isinstance(scope, Scope) or scope.includes(command, tag)


class Invalidations:
    """Invalidation commands consumed since the last SYNC, to be carried out by the next."""

    def __init__(self, tlb: Tlb, configuration: Configuration, profile: Profile) -> None:
        self.tlb = tlb
        self.configuration = configuration
        self.profile = profile
        self.noted: list[Command] = []
        #: Some took effect already, and are forgotten.
        self._early = False

    def note(self, command: Command) -> None:
        """Remember an invalidation until the SYNC."""
        if not self.profile.ril:
            command.tg = 0  # Reserved, and ignored, as are the fields that depend on it.
        if not self.profile.s2p and command.opcode in TLBI_SCOPES:
            command.vmid = 0  # Without stage 2 there are no VMIDs to match.
        self.noted.append(command)
        if len(self.noted) >= NOTED_MAX:
            self._carry_out()
            self._early = True

    def complete(self) -> Concerned | None:
        """A SYNC: everything noted has taken effect afterwards.

        :returns: whom the invalidations since the last SYNC concerned; ``None``: there were none
        """
        done, early = self._carry_out(), self._early
        self._early = False
        if early:
            return lambda access, tag: True
        return (lambda access, tag: any(_concerns(each, access, tag) for each in done)) if done else None

    def _carry_out(self) -> list[Command]:
        noted, self.noted = self.noted, []
        for command in noted:
            scope = TLBI_SCOPES.get(command.opcode)
            if scope is not None:
                self._invalidate_tlb(command, scope)
            else:
                self._invalidate_configuration(command)
        return noted

    def _invalidate_tlb(self, command: Command, scope: Callable[[Command, TlbEntry], bool]) -> None:
        if not isinstance(scope, Scope):
            self.tlb.invalidate(lambda entry: scope(command, entry))
            return
        low, high = _addresses(command) if scope.address else (0, ALL_BITS)
        hints = (TLBI_TG[command.tg], command.level_hint) if scope.address and command.tg else (0, 0)
        self.tlb.invalidate_scope(*scope.bits(command), low, high, *hints)

    def _invalidate_configuration(self, command: Command) -> None:
        match command.opcode:
            case Opcode.CFGI_STE:
                self.configuration.invalidate_streams(command.sid, 1)
            case Opcode.CFGI_STE_RANGE:
                count = 2 << command.range
                self.configuration.invalidate_streams(command.sid & -count, count)
            case Opcode.CFGI_CD:
                self.configuration.invalidate_context(command.sid, command.ssid)
            case Opcode.CFGI_CD_ALL:
                self.configuration.invalidate_contexts(command.sid)
            case _:
                raise AssertionError(f"{command} is no invalidation")

    def __repr__(self) -> str:
        return f"<Invalidations {len(self.noted)} noted>"
