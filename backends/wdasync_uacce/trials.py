"""One operation of each kind on a device, with a known answer: does it work, and not only exist?"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from wdasync.backend import Capability, Check, Completion, Queue, Status
from wdasync.errors import BackendUnavailable
from wdasync.operations import Compress, Decompress, Kind, Operation

from .engine_device import EngineDevice
from .key_trials import FAMILIES, key_trial
from .sec_trials import ALGORITHMS, sec_trial

__all__ = ["try_device"]

#: What is compressed, and what must come back.
TEXT: Final = b"".join(b"%d cubed is %d; " % (number, number**3) for number in range(300))

#: Algorithm -> wbits with which the standard library writes and reads it: the second opinion.
WBITS: Final = {"gzip": 31, "zlib": 15, "deflate": -15}

#: Seconds that an operation may take: some kilobytes of data, and work with public keys.
PATIENCE: Final = 2.0
KEY_PATIENCE: Final = 10.0

_DISTRUST: Final = (
    "do not use this device: set WDASYNC_BACKEND=cpu, and report it with the kernel's log (dmesg)"
)


def try_device(
    device: EngineDevice, patience: float = PATIENCE, key_patience: float = KEY_PATIENCE
) -> Iterator[Check]:
    """A check for each kind of operation with each algorithm. Blocks for up to so many seconds each."""
    for queue_class in device.capabilities.queue_classes:
        rows = [row for row in device.capabilities if row.queue_class == queue_class and _is_tried(row)]
        try:
            queue = device.open_queue(4, queue_class=queue_class)
        except BackendUnavailable as error:
            yield Check(f"{device.info.name} {queue_class}", False, str(error), "see the checks above")
            continue
        try:
            for row in rows:
                yield _try_one(device, queue, row, key_patience if row.algorithm in FAMILIES else patience)
        finally:
            queue.stop()
            queue.close()


def _is_tried(row: Capability) -> bool:
    return row.algorithm in WBITS or row.algorithm in FAMILIES or row.algorithm in ALGORITHMS


def _try_one(device: EngineDevice, queue: Queue, row: Capability, patience: float) -> Check:
    name = f"{device.info.name} {row.kind.name.lower().replace('_', ' ')} {row.algorithm}"
    try:
        operation, is_right = _trial_of(device, row)
    except ImportError:
        return Check(
            name, None, "not tried: there is nothing to compare with", "pip install 'wdasync[crypto]'"
        )
    try:
        return _judge(name, operation, is_right, _run(queue, operation, patience), patience)
    finally:
        if operation.key is not None:
            operation.key.revoke()


def _trial_of(device: EngineDevice, row: Capability) -> tuple[Operation, Callable[[bytes], bool]]:
    if row.algorithm in WBITS:
        return _trial(row)
    return sec_trial(device, row) if row.algorithm in ALGORITHMS else key_trial(device, row)


def _judge(
    name: str,
    operation: Operation,
    is_right: Callable[[bytes], bool],
    completion: Completion | None,
    patience: float,
) -> Check:
    if completion is None:
        return Check(name, False, f"no answer within {patience:g} s", _DISTRUST)
    if completion.status is not Status.SUCCESS:
        return Check(name, False, f"{completion.status.name}: {completion.detail.message}", _DISTRUST)
    if not is_right(completion.output or b""):
        return Check(name, False, "the answer is wrong", _DISTRUST)
    return Check(name, True, f"{operation.nbytes} → {completion.produced} bytes, as expected")


def _trial(row: Capability) -> tuple[Operation, Callable[[bytes], bool]]:
    """An operation, and whether an output is its answer."""
    wbits = WBITS[row.algorithm]
    if row.kind is Kind.COMPRESS:
        return Compress(TEXT, row.algorithm), lambda output: _unpacked(output, wbits) == TEXT
    packer = zlib.compressobj(6, zlib.DEFLATED, wbits)
    packed = packer.compress(TEXT) + packer.flush()
    return Decompress(packed, row.algorithm), lambda output: output == TEXT


def _unpacked(data: bytes, wbits: int) -> bytes | None:
    try:
        return zlib.decompress(data, wbits)
    except zlib.error:
        return None


def _run(queue: Queue, operation: Operation, patience: float) -> Completion | None:
    end = time.monotonic() + patience
    waiting = not queue.enqueue_burst([(1, operation)])
    while not (found := queue.dequeue_burst(1)):
        if waiting:
            waiting = not queue.enqueue_burst([(1, operation)])
        if time.monotonic() > end:
            return None
        time.sleep(0.001)
    return found[0]
