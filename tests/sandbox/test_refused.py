"""In a sandbox that forbids a system call: a fallback that is stated, or an error that says what to allow."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import NamedTuple

import pytest

from tests.cpu.support import CHECKOUT

PRELUDE = """
import gzip, sys
import anyio, wdasync
from wdasync.registry import get_backend
from tests.sandbox.refuse import hide, refuse

TEXT = b"what a sandbox lets through\\n" * 5000

async def use(acc):
    for data in (b"x", TEXT, bytearray(TEXT)):
        assert gzip.decompress(await acc.compress(data)) == data
        assert await acc.decompress(gzip.compress(data)) == data
    buffer = bytearray(5000)
    assert gzip.decompress(buffer[: await acc.compress_into(TEXT, buffer)]) == TEXT

    async def pager(offset, length):
        return TEXT[offset : offset + length]

    result = await acc.execute(wdasync.Compress(wdasync.PagedBuffer(len(TEXT), pager), "gzip"))
    assert gzip.decompress(result.output) == TEXT
    return result.paging.value

async def attempt(name, **options):
    try:
        async with wdasync.open_accelerator(name, fallback=False, **options) as acc:
            print("works:", await use(acc), acc.statistics().rescues)
    except wdasync.BackendUnavailable as error:
        print("unavailable:", error)

def doctor(name):
    for check in get_backend(name).diagnose(get_backend(name).Options()):
        if check.passed is not True and not check.name.startswith("library "):  # of which a machine may have few
            print("doctor:", check.name, "|", check.passed, "|", check.found, "|", check.advice)
"""


def program(source: str) -> list[str]:
    """Run in an interpreter of its own; the lines that it printed."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + source],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert not ended.stderr
    return ended.stdout.splitlines()


class Case(NamedTuple):
    """What is refused to a backend, and what it says.

    :ivar works: how pages were fetched, if it works all the same; else nothing
    :ivar says: parts of the error
    :ivar doctor: (check, whether it passed, part of the advice), of each that did not pass
    """

    backend: str
    calls: tuple[str, ...]
    works: str = ""
    says: tuple[str, ...] = ()
    doctor: tuple[tuple[str, str, str], ...] = ()


DMA = (("DMA into this process", "False", "process_vm_readv, process_vm_writev and madvise"),)
CASES = [
    Case("cpu", ("process_vm_readv", "process_vm_writev", "memfd_create", "madvise"), works="on fault"),
    Case("cpu", ("userfaultfd",), works="before", doctor=(("userfaultfd", "None", "userfaultfd"),)),
    Case("cpu", ("eventfd2",), says=("eventfd2", "seccomp")),
    Case("hip08", ("userfaultfd",), works="on fault"),
    Case("hip08", ("process_vm_readv",), says=("process_vm_readv is refused", "seccomp"), doctor=DMA),
    Case("hip08", ("process_vm_writev",), says=("process_vm_writev is refused", "seccomp"), doctor=DMA),
    Case("hip08", ("madvise",), says=("madvise", "is refused", "Linux 5.14", "seccomp"), doctor=DMA),
    Case("hip08", ("memfd_create",), says=("memfd_create", "seccomp")),
    Case("hip08", ("eventfd2",), says=("eventfd2", "seccomp")),
    Case("mock", ("process_vm_readv", "userfaultfd", "memfd_create", "madvise"), works="before"),
    Case("mock", ("eventfd2",), says=("eventfd",)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.backend} without {' '.join(case.calls)}")
def test_refused(case: Case) -> None:
    """With one error number for each half of them: which one it is makes no difference."""
    error = "EPERM" if CASES.index(case) % 2 else "ENOSYS"
    number = getattr(errno, error)
    calls = ", ".join(map(repr, case.calls))
    look = f"doctor({case.backend!r})" if case.works or case.doctor else ""
    outcome, *rest = program(f"refuse({number}, {calls})\nanyio.run(attempt, {case.backend!r})\n{look}\n")
    if case.works:
        assert outcome == f"works: {case.works} 0"
    else:
        assert outcome.startswith("unavailable: ")
        assert os.strerror(number) in outcome
        assert [part for part in case.says if part not in outcome] == [], outcome
    found = [tuple(part.strip() for part in line.removeprefix("doctor: ").split("|")) for line in rest]
    assert [(name, passed) for name, passed, _, _ in found] == [
        (name, passed) for name, passed, _ in case.doctor
    ]
    for (_, _, _, advice), (_, _, wanted) in zip(found, case.doctor, strict=True):
        if error == "EPERM" or case.backend != "cpu":
            assert wanted in advice


@pytest.mark.parametrize(
    ("hidden", "residency"), [("/proc/self/pagemap", "mirror"), ("/proc", "cold"), ("/proc", "pinned")]
)
def test_which_pages_are_present_cannot_be_known(hidden: str, residency: str) -> None:
    """Then none counts as present: a mirror is as a cold start."""
    outcome, *rest = program(
        f"""
hide({errno.EACCES}, {hidden!r})
anyio.run(lambda: attempt("hip08", residency={residency!r}))
doctor("hip08")
"""
    )
    assert outcome == f"works: {'before' if residency == 'pinned' else 'on fault'} 0"
    (line,) = rest
    assert line.startswith(
        "doctor: which pages are present | None | /proc/self/pagemap cannot be read: Permission denied"
    )
    assert "residency" in line


def test_a_mirror_without_pagemap_faults_on_each_page() -> None:
    counts = program(
        f"""
async def faults():
    async with wdasync.open_accelerator("hip08", fallback=False) as acc:
        data = bytes(range(256)) * 160
        await acc.compress(data)
        print(acc.statistics().devices["hip08/hisi_zip-0"]["page_faults_taken"])

anyio.run(faults)
hide({errno.EACCES}, "/proc/self/pagemap")
anyio.run(faults)
"""
    )
    mirrored, hidden = map(int, counts)
    assert hidden >= mirrored + 10


@pytest.mark.parametrize("name", ["cpu", "mock"])
def test_without_proc(name: str) -> None:
    (outcome,) = program(f'hide({errno.EACCES}, "/proc", "/sys")\nanyio.run(attempt, {name!r})\n')
    assert outcome.startswith("works: ")


def test_a_queue_whose_memory_cannot_be_had_leaves_an_interpreter_that_ends_in_order() -> None:
    """A view of its ring was in a traceback together with what pinned it, and the garbage collector fell over the two."""
    outcome, last = program(
        """
from wdasync_hip08.backings import OwnProcess

def refused(self, page, count, writable=False):
    raise PermissionError(13, "refused by the test")

OwnProcess.populate = OwnProcess.present = refused
anyio.run(attempt, "hip08")
print("the end")
"""
    )
    assert outcome.startswith("unavailable: hisi_zip-0: no queue could be opened: EACCES")
    assert last == "the end"
