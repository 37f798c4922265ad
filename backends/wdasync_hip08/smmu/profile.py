"""What an implementation can do, as its identification registers say it. (IHI 0070, 6.3.1 to 6.3.8.)"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HIP08", "OUTPUT_BITS", "Profile"]

#: Output address bits by their encoding in IDR5.OAS, CD.IPS and STE.S2PS.
OUTPUT_BITS = (32, 36, 40, 42, 44, 48, 52, 56)


@dataclass(frozen=True, slots=True)
class Profile:
    """The identification registers, and what their fields mean.

    The default has both stages of AArch64 tables in all three granules, hardware update of access flag and dirty
    state, ATS and PRI, 16-bit ASIDs and VMIDs, two-level tables, stall or terminate, and 48-bit addresses.

    :ivar gbpa: GBPA at reset: with bit 20 set, an SMMU that is not enabled aborts everything
    """

    idr0: int = 0x084D349B
    idr1: int = 0x01084510
    idr2: int = 0
    idr3: int = 0x1434
    idr4: int = 0
    idr5: int = 0x00100075
    iidr: int = 0
    aidr: int = 2
    gbpa: int = 0

    # IDR0
    @property
    def s2p(self) -> bool:
        """Stage 2 is implemented."""
        return bool(self.idr0 & 1)

    @property
    def s1p(self) -> bool:
        """Stage 1 is implemented."""
        return bool(self.idr0 & 2)

    @property
    def aarch64(self) -> bool:
        """VMSAv8-64 tables are understood (TTF[1])."""
        return bool(self.idr0 & 8)

    @property
    def httu(self) -> int:
        """Hardware update of descriptors: 0 none, 1 access flag, 2 and dirty state."""
        return self.idr0 >> 6 & 3

    @property
    def hyp(self) -> bool:
        """Hypervisor stage-1 contexts (EL2)."""
        return bool(self.idr0 >> 9 & 1)

    @property
    def ats(self) -> bool:
        """PCIe address translation service."""
        return bool(self.idr0 >> 10 & 1)

    @property
    def ns1ats(self) -> bool:
        """No split-stage ATS."""
        return bool(self.idr0 >> 11 & 1)

    @property
    def asid16(self) -> bool:
        """ASIDs have 16 bits, otherwise 8."""
        return bool(self.idr0 >> 12 & 1)

    @property
    def msi(self) -> bool:
        """Interrupts may be messages."""
        return bool(self.idr0 >> 13 & 1)

    @property
    def pri(self) -> bool:
        """PCIe page requests."""
        return bool(self.idr0 >> 16 & 1)

    @property
    def vmid16(self) -> bool:
        """VMIDs have 16 bits, otherwise 8."""
        return bool(self.idr0 >> 18 & 1)

    @property
    def cd2l(self) -> bool:
        """Two-level context descriptor tables."""
        return bool(self.idr0 >> 19 & 1)

    @property
    def ttendian(self) -> int:
        """Byte order of tables: 0 mixed, 2 little, 3 big."""
        return self.idr0 >> 21 & 3

    @property
    def stall_model(self) -> int:
        """0 stall or terminate, 1 terminate only, 2 stall forced."""
        return self.idr0 >> 24 & 3

    @property
    def stalls(self) -> bool:
        """Accesses can stall at all."""
        return self.stall_model != 1

    @property
    def abort_only(self) -> bool:
        """TERM_MODEL: terminating as "reads zero, ignores writes" is not available."""
        return bool(self.idr0 >> 26 & 1)

    @property
    def st_level(self) -> int:
        """1: two-level stream tables."""
        return self.idr0 >> 27 & 3

    # IDR1
    @property
    def sid_bits(self) -> int:
        """StreamID bits."""
        return self.idr1 & 0x3F

    @property
    def ssid_bits(self) -> int:
        """SubstreamID bits, 0: no substreams."""
        return self.idr1 >> 6 & 0x1F

    @property
    def priq_log2(self) -> int:
        """Log2 of the most entries of the PRI queue."""
        return self.idr1 >> 11 & 0x1F

    @property
    def eventq_log2(self) -> int:
        """Log2 of the most entries of the event queue."""
        return self.idr1 >> 16 & 0x1F

    @property
    def cmdq_log2(self) -> int:
        """Log2 of the most entries of the command queue."""
        return self.idr1 >> 21 & 0x1F

    @property
    def perms_override(self) -> bool:
        """STE.PRIVCFG and STE.INSTCFG have an effect (ATTR_PERMS_OVR)."""
        return bool(self.idr1 >> 26 & 1)

    # IDR3
    @property
    def had(self) -> bool:
        """CD.HADx can switch off the permissions in table descriptors."""
        return bool(self.idr3 >> 2 & 1)

    @property
    def xnx(self) -> bool:
        """Stage 2 tells privileged from unprivileged instruction fetches."""
        return bool(self.idr3 >> 4 & 1)

    @property
    def pps(self) -> bool:
        """Automatic page responses always carry the PASID of their request."""
        return bool(self.idr3 >> 5 & 1)

    @property
    def fwb(self) -> bool:
        """STE.S2FWB has an effect on how stage-2 memory types are encoded."""
        return bool(self.idr3 >> 8 & 1)

    @property
    def stt(self) -> bool:
        """Small translation tables: TxSZ beyond 39."""
        return bool(self.idr3 >> 9 & 1)

    @property
    def ril(self) -> bool:
        """Range invalidation and level hints."""
        return bool(self.idr3 >> 10 & 1)

    # IDR5
    @property
    def output_bits(self) -> int:
        """Bits of a physical address (OAS). The address fields of our structures end at bit 51."""
        return min(OUTPUT_BITS[self.idr5 & 7], 52)

    @property
    def granules(self) -> frozenset[int]:
        """Log2 of the translation granules."""
        return frozenset(log2 for log2, bit in ((12, 4), (14, 5), (16, 6)) if self.idr5 >> bit & 1)

    @property
    def stall_max(self) -> int:
        """Software never sees more stalls than this at a time."""
        return self.idr5 >> 16

    def capped(self, encoding: int) -> int:
        """Address bits for an encoding of IPS or S2PS, no more than there are physically."""
        return min(OUTPUT_BITS[encoding], self.output_bits)

    def txsz_max(self, granule: int) -> int:
        """The largest TxSZ, that is the smallest address space, with this granule (its log2)."""
        if not self.stt:
            return 39
        return 47 if granule == 16 else 48


HIP08 = Profile()
"""What our chip has: 16 StreamID bits, 20 SubstreamID bits, queues of 256 entries, at most 16 stalls at a time."""
