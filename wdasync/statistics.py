"""What was counted: frozen value objects, made when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .backend import QueueStatistics
from .errors import Status

__all__ = ["AcceleratorStatistics", "DeviceStatistics", "LaneStatistics"]


@dataclass(frozen=True, slots=True)
class LaneStatistics:
    """Counters of one lane: one queue of a device, its slots, and those who wait for them.

    :ivar name: backend, device and queue
    :ivar device: backend and device
    :ivar state: ``open``, ``draining``, ``resetting``, ``lost`` or ``closed``
    :ivar depth: slots
    :ivar in_flight: slots taken
    :ivar parked: callers that wait for a slot
    :ivar submitted: operations given a slot
    :ivar completed: operations ended, cancelled ones included
    :ivar inline: operations that ran in the loop's thread instead
    :ivar statuses: how they ended -> how many
    :ivar bytes_in: input bytes of submitted operations
    :ivar bytes_out: output bytes of completions
    :ivar bursts: calls of ``enqueue_burst``
    :ivar wakes: times that the descriptor woke the loop
    :ivar withdrawn: cancelled before the device saw them
    :ivar detached: cancelled and left to the device
    :ivar outstayed: cancelled and waited for, because the memory was the caller's
    :ivar spurious: completions that belonged to nothing
    :ivar rescues: completions that only the safety timer found; anything but 0 is a bug in the backend
    :ivar resets: times that the queue was replaced
    :ivar returns: times that it came back after its device was lost
    :ivar queue: the queue's own counters
    """

    name: str
    device: str
    state: str
    depth: int
    in_flight: int
    parked: int
    submitted: int
    completed: int
    inline: int
    statuses: Mapping[Status, int]
    bytes_in: int
    bytes_out: int
    bursts: int
    wakes: int
    withdrawn: int
    detached: int
    outstayed: int
    spurious: int
    rescues: int
    resets: int
    returns: int
    queue: QueueStatistics


@dataclass(frozen=True, slots=True)
class DeviceStatistics:
    """Counters of one device: what ran there, and what became of it.

    :ivar name: backend and device
    :ivar state: ``open``, ``lost``, ``no queue`` or ``closed``
    :ivar reason: why it is not open
    :ivar numa_node: where it is; ``None``: everywhere
    :ivar distance: from the program, in the kernel's numbers: 10 is its own node
    :ivar queues: how many are open
    :ivar missing: how many more are wanted, and used by others
    :ivar in_flight: slots taken
    :ivar completed: operations ended, also inline
    :ivar inline: of these, those that ran in the loop's thread
    :ivar bytes_in: input bytes of submitted operations
    :ivar bytes_out: output bytes of completions
    :ivar losses: times that it was lost
    :ivar returns: times that it came back
    :ivar attempts: times that it was tried again, for itself or for a queue
    """

    name: str
    state: str
    reason: str
    numa_node: int | None
    distance: int
    queues: int
    missing: int
    in_flight: int
    completed: int
    inline: int
    bytes_in: int
    bytes_out: int
    losses: int
    returns: int
    attempts: int


@dataclass(frozen=True, slots=True)
class AcceleratorStatistics:
    """Counters of one accelerator since it was opened.

    :ivar lanes: one for each queue
    :ivar places: one for each device, in the order of the lanes
    :ivar reasons: reason of choice, lower case -> operations
    :ivar inline: operations that ran in the loop's thread
    :ivar retries: operations that were sent again
    :ivar faults: page faults answered
    :ivar devices: backend and device -> what its driver or model counts itself, by name; without those that count
        nothing
    """

    lanes: tuple[LaneStatistics, ...]
    reasons: Mapping[str, int]
    inline: int
    retries: int
    faults: int
    devices: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    places: tuple[DeviceStatistics, ...] = ()

    @property
    def completed(self) -> int:
        """Operations ended, on all lanes and inline."""
        return self.inline + sum(lane.completed for lane in self.lanes)

    @property
    def in_flight(self) -> int:
        """Operations that hold a slot."""
        return sum(lane.in_flight for lane in self.lanes)

    @property
    def rescues(self) -> int:
        """Lost wake-ups; must be 0."""
        return sum(lane.rescues for lane in self.lanes)
