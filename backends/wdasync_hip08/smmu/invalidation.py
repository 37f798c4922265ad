"""Invalidations: which cached translations and configurations a command is about. (IHI 0070, 4.3 and 4.4.)"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from wdasync_hip08.smmu.commands import Command, Opcode
from wdasync_hip08.smmu.configuration import Configuration
from wdasync_hip08.smmu.geometry import TLBI_TG
from wdasync_hip08.smmu.profile import Profile
from wdasync_hip08.smmu.tlb import Tlb, TlbEntry

__all__ = ["TLBI_SCOPES", "Invalidations"]

ADDRESS_BITS = (1 << 56) - 1
"""Address bits that are compared: the top byte may be a tag."""

NOTED_MAX = 256
"""Software that never synchronises does not fill memory: invalidations may take effect early."""

Scope: TypeAlias = Callable[[Command, TlbEntry], bool]


def _el1(command: Command, entry: TlbEntry) -> bool:
    """Stage 1 or combined, of the VMID."""
    return entry.tag.world == 1 and not entry.tag.stage2_only and entry.tag.vmid == command.vmid


def _asid(command: Command, entry: TlbEntry) -> bool:
    return entry.tag.asid == command.asid


def _asid_or_global(command: Command, entry: TlbEntry) -> bool:
    return entry.tag.asid in (command.asid, None)


def _address(command: Command, entry: TlbEntry) -> bool:
    """The entry covers some of the addresses, and the hints of the command fit it.

    Without TG the address is one of any granule. With TG it is the beginning of a range, and entries of another
    granule or (TTL) of another level need not be dropped: software that lies about them keeps stale entries.
    """
    address = command.addr & ADDRESS_BITS
    if not command.tg:
        return entry.address <= address < entry.address + entry.size
    granule = TLBI_TG[command.tg]
    if entry.granule != granule or command.level_hint not in (0, entry.level):
        return False
    end = address + ((command.num + 1 << command.scale) << granule)
    return address < entry.address + entry.size and entry.address < end


def _el2(command: Command, entry: TlbEntry) -> bool:
    return entry.tag.world == 2


def _all(*scopes: Scope) -> Scope:
    return lambda command, entry: all(scope(command, entry) for scope in scopes)


#: Which TLB entries a command drops. By-ASID commands keep global entries; S2_IPA keeps combined entries, so it has
#: to be followed by a command for these.
TLBI_SCOPES: dict[Opcode, Scope] = {
    Opcode.TLBI_NH_ALL: _el1,
    Opcode.TLBI_NH_ASID: _all(_el1, _asid),
    Opcode.TLBI_NH_VA: _all(_el1, _asid_or_global, _address),
    Opcode.TLBI_NH_VAA: _all(_el1, _address),
    Opcode.TLBI_EL2_ALL: _el2,
    Opcode.TLBI_EL2_ASID: _all(_el2, _asid),
    Opcode.TLBI_EL2_VA: _all(_el2, _asid_or_global, _address),
    Opcode.TLBI_EL2_VAA: _all(_el2, _address),
    Opcode.TLBI_S12_VMALL: lambda command, entry: entry.tag.world == 1 and entry.tag.vmid == command.vmid,
    Opcode.TLBI_S2_IPA: _all(
        lambda command, entry: entry.tag.stage2_only and entry.tag.vmid == command.vmid, _address
    ),
    Opcode.TLBI_NSNH_ALL: lambda command, entry: entry.tag.world == 1,
}


class Invalidations:
    """Invalidation commands consumed since the last SYNC, to be carried out by the next."""

    def __init__(self, tlb: Tlb, configuration: Configuration, profile: Profile) -> None:
        self.tlb = tlb
        self.configuration = configuration
        self.profile = profile
        self.noted: list[Command] = []
        self._early = 0

    def note(self, command: Command) -> None:
        """Remember an invalidation until the SYNC."""
        if not self.profile.ril:
            command.tg = 0  # Reserved, and ignored, as are the fields that depend on it.
        if not self.profile.s2p and command.opcode in TLBI_SCOPES:
            command.vmid = 0  # Without stage 2 there are no VMIDs to match.
        self.noted.append(command)
        if len(self.noted) >= NOTED_MAX:
            self._early += self._carry_out()

    def complete(self) -> int:
        """A SYNC: everything noted has taken effect afterwards; how many invalidations there were since the last."""
        count = self._carry_out() + self._early
        self._early = 0
        return count

    def _carry_out(self) -> int:
        noted, self.noted = self.noted, []
        for command in noted:
            scope = TLBI_SCOPES.get(command.opcode)
            if scope is not None:
                self._invalidate_tlb(command, scope)
            else:
                self._invalidate_configuration(command)
        return len(noted)

    def _invalidate_tlb(self, command: Command, scope: Scope) -> None:
        self.tlb.invalidate(lambda entry: scope(command, entry))

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
