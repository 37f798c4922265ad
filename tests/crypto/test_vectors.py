"""Each device gives the published answers: NIST's, the RFCs', and those of the algorithms' authors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cpu.sealed import WAYS, sealed_by
from tests.cpu.support import run
from wdasync import registry
from wdasync.backend import Device, QueueStatistics
from wdasync.errors import Status, UnsupportedOperation
from wdasync.operations import Kind
from wdasync_cpu import Options

from .cases import CASES, Case

pytestmark = pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")

#: Backends that are examined, with the settings that they want. A case of which a device has no row is none of its.
BACKENDS: dict[str, dict[str, Any]] = {"cpu": {}}


@pytest.fixture(params=BACKENDS)
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    backend = registry.get_backend(request.param)
    device = backend.open(backend.devices()[0], backend.Options(**BACKENDS[request.param]))
    yield device
    device.close()


def able(device: Device, case: Case) -> bool:
    """Whether the device claims that it can do this."""
    operation = case.operation
    row = device.capabilities.find(operation.kind, operation.algorithm)
    if row is None or (row.max_input is not None and operation.nbytes > row.max_input):
        return False
    if operation.key is not None:
        try:
            operation.session = operation.key.session(device, operation.algorithm)
        except UnsupportedOperation:
            return False
    return True


def examine(device: Device, name: str) -> QueueStatistics:
    """Ask it for all cases of a list."""
    cases = [case for case in CASES[name]() if able(device, case)]
    if not cases:
        pytest.skip(f"{device.info.name} has none of this")
    queue = device.open_queue(64)
    try:
        found = run(queue, [case.operation for case in cases])
        statistics = queue.statistics()
    finally:
        queue.stop()
        queue.close()
        for case in cases:
            if case.operation.key is not None:
                case.operation.key.forget(device)
    for case, done in zip(cases, found, strict=True):
        if isinstance(case.answer, Status):
            assert done.status is case.answer, (case.operation, done)
        else:
            assert (done.status, done.output) == (Status.SUCCESS, case.answer), (case.operation, done)
    return statistics


@pytest.mark.parametrize("name", CASES)
def test_published_answers(device: Device, name: str) -> None:
    examine(device, name)


@pytest.mark.parametrize("who", WAYS)
@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("gcm")])
def test_published_answers_of_each_library(who: str, name: str) -> None:
    """AES-GCM by IPsec-MB, and by OpenSSL, on a machine that has both."""
    with sealed_by(who):
        device = registry.get_backend("cpu").open(registry.get_backend("cpu").devices()[0], Options())
        try:
            statistics = examine(device, name)
        finally:
            device.close()
    # The unusual ones are cryptography's: most, since each usual one is there with several sizes of tags and nonces.
    assert statistics.dequeued - statistics.extra["python"] >= 100


def test_the_cpu_has_answers_for_everything() -> None:
    """Nothing in its table is left unexamined, but what no public list is known of."""
    backend = registry.get_backend("cpu")
    device = backend.open(backend.devices()[0], backend.Options())
    asked = {(case.operation.kind, case.operation.algorithm) for make in CASES.values() for case in make()}
    rows = {(row.kind, row.algorithm) for row in device.capabilities if row.kind >= Kind.CHECKSUM}
    left = {
        name
        for kind, name in rows - asked
        if kind not in (Kind.CHECKSUM, Kind.DIGEST_CHUNK, Kind.GENERATE, Kind.PUBLIC_ENCRYPT, Kind.SEQUENCE)
    }
    device.close()
    composed = {name for name in left if "-cbc-hmac-" in name}
    signed = {"ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ecdsa-secp256k1"}  # with a number nobody knows
    assert left - composed == {"sm4-cmac", *signed}
