"""What a user can see of the chip: counters of its page faults, and dumps."""

import gzip
import os
from typing import Any

import pytest

import wdasync
import wdasync_hip08
from wdasync import FaultResponse, PageFault

pytestmark = pytest.mark.anyio
PAGE = 4096


async def test_page_faults_are_counted_for_each_device() -> None:
    answers = [FaultResponse.SUCCESS]

    async def handler(fault: PageFault) -> FaultResponse:
        return answers[0]

    async with wdasync.open_accelerator("hip08", fallback=False, residency="cold", on_fault=handler) as acc:
        result = await acc.execute(wdasync.Compress(os.urandom(5 * PAGE), "gzip"))
        answers[0] = FaultResponse.INVALID
        with pytest.raises(wdasync.PageFaultError):
            await acc.compress(bytes(PAGE))
        counters = acc.statistics().devices["hip08/hisi_zip-0"]
    assert counters["page_faults_taken"] == counters["page_faults_handled"] == result.faults + 1
    assert counters["page_faults_success"] == result.faults
    assert counters["page_faults_invalid"] == 1
    assert counters["page_faults_expired"] == counters["page_faults_failed"] == 0
    histogram = [count for name, count in counters.items() if name.startswith("page_faults_below_")]
    assert sum(histogram) == counters["page_faults_taken"]
    assert acc.statistics().devices["hip08/hisi_zip-0"] == counters


async def test_the_machine_of_an_accelerator_can_be_dumped() -> None:
    before: list[Any] = wdasync_hip08.machines()
    async with wdasync.open_accelerator("hip08", fallback=False) as acc:
        assert gzip.decompress(await acc.compress(bytes(PAGE))) == bytes(PAGE)
        (machine,) = [machine for machine in wdasync_hip08.machines() if machine not in before]
        text = wdasync_hip08.dump(machine)
    for part in ("<Machine on", "PASID", "EVENTQ", "<QueuePair"):
        assert part in text
    assert machine not in wdasync_hip08.machines()
