"""Counters: how often what happened since the SMMU was made."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["Statistics"]


@dataclass(slots=True)
class Statistics:
    """Counters of one SMMU; each only grows.

    :ivar events_dropped: ordinary events that found the queue full
    :ivar events_lost: events that the queue did not take for another reason: disabled, or its memory aborts
    :ivar stalls_waiting: accesses that had to wait for a stall tag, unreported
    :ivar stalls_stale: unrecorded stalls that were retried because of an invalidation, their record forgotten
    """

    accesses: int = 0
    tlb_hits: int = 0
    tlb_misses: int = 0
    tlb_evictions: int = 0
    tlb_invalidated: int = 0
    walks: int = 0
    descriptor_fetches: int = 0
    descriptor_updates: int = 0
    ste_fetches: int = 0
    cd_fetches: int = 0
    config_hits: int = 0
    faults: int = 0
    aborts: int = 0
    events_written: int = 0
    events_dropped: int = 0
    events_lost: int = 0
    event_overflows: int = 0
    stalls: int = 0
    stalls_waiting: int = 0
    stalls_recorded: int = 0
    stalls_stale: int = 0
    resumed_retry: int = 0
    resumed_abort: int = 0
    resumed_terminate: int = 0
    resume_unmatched: int = 0
    commands: int = 0
    command_errors: int = 0
    syncs: int = 0
    atc_invalidations: int = 0
    atc_timeouts: int = 0
    page_requests: int = 0
    page_requests_dropped: int = 0
    page_responses: int = 0
    interrupts: int = 0
    bad_register_accesses: int = 0

    def as_dict(self) -> dict[str, int]:
        """All counters by name."""
        return asdict(self)
