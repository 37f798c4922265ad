"""The drivers over the stand-in, held to the queue contract by the public judge."""

import pytest

from wdasync.testing import check_backend
from wdasync_uacce import UacceBackend

from .stand_in import Provoker, StandIn


@pytest.mark.parametrize(
    ("version", "depth", "threaded", "consuming"),
    [(2, 64, False, False), (2, 64, True, True), (3, 1024, True, False)],
    ids=["works in the doorbell", "works in a thread, polling consumes", "works in a thread"],
)
def test_the_contract_is_kept(version: int, depth: int, threaded: bool, consuming: bool) -> None:
    layer = StandIn(depth, version, auto=True, threaded=threaded)
    report = check_backend(UacceBackend(layer), provoker=Provoker(layer), consuming=consuming)
    assert len(report.findings) > 80
    assert not layer.space.grants
    assert {file.state for file in layer.files} == {"CLOSED"}


def test_the_contract_is_kept_by_a_device_that_is_removed() -> None:
    layer = StandIn(64, threaded=True)
    report = check_backend(UacceBackend(layer), provoker=Provoker(layer, removes=True))
    assert len(report.findings) > 80
    assert not layer.space.grants
    assert {file.state for file in layer.files} == {"CLOSED"}
