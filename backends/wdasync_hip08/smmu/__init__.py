"""A synchronous model of an Arm SMMUv3: what stands between a device and memory.

A device names an address space by (StreamID, SubstreamID) and a byte in it by a virtual address. The SMMU turns
that into a physical address, or says why it cannot. Everything here happens inside the call that asks for it:
there is no loop, no clock and no thread. (Specification: Arm IHI 0070; page tables: VMSAv8-64 of Arm DDI 0487.)

Physical memory is whatever implements :class:`Bus`; the model reads its tables and queues from there, byte for
byte, and writes its records there. Software drives it as it drives the silicon: through registers::

    memory = SparseMemory(missing_reads_zero=True)
    smmu = Smmu(memory, HIP08, on_event_irq=..., on_sync=...)
    smmu.write64(0x80, stream_table); ...; smmu.write32(0x20, 0x1F)      # STRTAB_BASE, ..., CR0

    match smmu.translate(Access(sid=0x10, ssid=5, va=0x1234_5678_9ABC, op="W")):
        case Translated(pa=pa): ...            # .leaf_bytes .ipa .writable .tlb_hit
        case Faulted(bus=bus): ...             # bus "abort" or "raz_wi"; .event .record .recorded .stage
        case AbortedSilently(): ...            # abort, and no event by architecture
        case Parked(stall=stall): ...          # the access waits; stall.stag is None while it is unreported

An access must lie within one 4 KiB page. ``Faulted.recorded`` says that the architecture records the event; whether
the event queue had room is in the counters (``smmu.statistics.events_written``, ``.events_dropped``).
The fast way for a device that only wants to know about hits is ``smmu.lookup(sid, ssid, va, write)``: a physical
address from the TLB, or ``None``, in which case ``translate`` tells the whole story. For a whole buffer there is
``smmu.burst(sid, ssid, va, nbytes, write, pas, limit)``: physical addresses of its pages, up to the first that is not
plain.

**Parked accesses.** A :class:`Stall` carries its ``access``, ``stag``, ``record`` and ``state``:

    WAITING   no STAG is free for it (STALL_MAX, or the quota of its (sid, ssid)): not reported, back-pressure
    HELD      has a STAG; its record waits for a place in the event queue
    RECORDED  its record is in the event queue; software owes a RESUME
    RESUMED   over: ``stall.verdict`` is RETRY, ABORT or TERMINATE (reads zero, ignores writes)

Whoever owns the device drains ``smmu.take_resumed() -> list[Stall]``, in order, after anything that may have
resumed something: a register write, or the callback ``on_resumed()``, which is called when that list becomes
non-empty. For RETRY the owner calls ``translate(stall.access)`` again: the access may succeed, fault, or stall
anew with a new :class:`Stall` (so says the architecture: a retry is as if the access had just arrived). RETRY also
comes without any RESUME where the SMMU retries by itself: an unrecorded stall that was invalidated before a SYNC.

Interrupt wires and ``on_resumed`` are called when the SMMU is at rest, at the very end of the call that caused them,
and may drive it. So software that answers a fault from inside the event interrupt has resumed a stall before
``translate`` has returned it: ``stall.state`` is then RESUMED already, and ``take_resumed`` has it.

**Commands** run when CMDQ_PROD is written (``process_commands(limit)`` runs them too; ``auto_commands=False`` leaves
it to that). An invalidation takes effect when the SYNC behind it completes, not earlier: the latest moment that the
architecture allows, so software that forgets its SYNC is found out. RESUME and STALL_TERM act at once, ATC_INV is
sent at once. ``on_sync(command)`` is called when a SYNC has completed, whatever its completion signal.

**ATS and PRI** are for endpoints that have them: ``ats_request``, ``translated_access``, ``page_request``, and
``take_page_responses()`` for the answers, automatic ones included. ATC invalidations reach the endpoint by
``on_atc_invalidate(invalidation) -> bool``; False means that it did not answer in time.

**Codecs**: :class:`EventRecord`, :class:`Command`, :class:`PageRequest`, :class:`StreamTableEntry` and
:class:`ContextDescriptor` have ``encode() -> tuple of 64-bit words``, ``decode(words)``, ``pack() -> bytes`` and
``unpack(bytes)``. Fields bear the names of the specification in lower case (``s1contextptr``, ``t0sz``, ``ttb0``,
``msiaddr``); addresses are byte addresses; what the specification numbers is an int.

**To read it**, follow an access: ``translator`` (the TLB, and what to do on a miss), ``configuration`` with
``stream_table`` and ``context_table`` (which tables are to be used), ``walk`` with ``geometry`` and ``permissions``
(what the tables say), then ``fault_recorder``, ``stalls`` and ``event_queue`` (what happens when they say no), then
``command_processor`` and ``invalidation`` (what software does about it). ``smmu`` puts the parts together behind the
table in ``registers``.

Not modelled: secure and realm state, EL2 contexts beyond their tags, AArch32 and 52-bit tables, walk caches,
GATOS/VATOS, MPAM, broadcast TLB maintenance, merging of events and suppression of duplicate stalls (all optional).
"""

from wdasync_hip08.smmu.access import (
    AbortedSilently,
    Access,
    BusResponse,
    Faulted,
    Op,
    Outcome,
    Parked,
    Translated,
)
from wdasync_hip08.smmu.ats import AtsCompletion, AtsRequest, AtsStatus
from wdasync_hip08.smmu.bus import Bus, BusError, SparseMemory
from wdasync_hip08.smmu.command_processor import AtcInvalidation
from wdasync_hip08.smmu.commands import (
    Command,
    CommandError,
    CompletionSignal,
    Opcode,
    atc_span,
    range_commands,
)
from wdasync_hip08.smmu.context_descriptor import ContextDescriptor, ContextL1
from wdasync_hip08.smmu.events import EventCode, EventRecord, FaultClass
from wdasync_hip08.smmu.pri import PageRequest, PageResponse, ResponseCode
from wdasync_hip08.smmu.profile import HIP08, Profile
from wdasync_hip08.smmu.registers import REGISTERS, Register, RegisterFile
from wdasync_hip08.smmu.signals import GlobalError, Interrupt
from wdasync_hip08.smmu.smmu import Smmu
from wdasync_hip08.smmu.stalls import Stall, StallState, Verdict
from wdasync_hip08.smmu.statistics import Statistics
from wdasync_hip08.smmu.stream_table_entry import Config, S1Dss, StreamTableEntry, StreamTableL1
from wdasync_hip08.smmu.trace import Trace

__all__ = [
    "HIP08",
    "REGISTERS",
    "AbortedSilently",
    "Access",
    "AtcInvalidation",
    "AtsCompletion",
    "AtsRequest",
    "AtsStatus",
    "Bus",
    "BusError",
    "BusResponse",
    "Command",
    "CommandError",
    "CompletionSignal",
    "Config",
    "ContextDescriptor",
    "ContextL1",
    "EventCode",
    "EventRecord",
    "FaultClass",
    "Faulted",
    "GlobalError",
    "Interrupt",
    "Op",
    "Opcode",
    "Outcome",
    "PageRequest",
    "PageResponse",
    "Parked",
    "Profile",
    "Register",
    "RegisterFile",
    "ResponseCode",
    "S1Dss",
    "Smmu",
    "SparseMemory",
    "Stall",
    "StallState",
    "Statistics",
    "StreamTableEntry",
    "StreamTableL1",
    "Trace",
    "Translated",
    "Verdict",
    "atc_span",
    "range_commands",
]
