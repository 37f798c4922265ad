"""A stranger's backend: found by its entry point, chosen by configuration, held to the contract."""

import ctypes
import gzip
import importlib
import os
import subprocess
import sys
import tomllib
import zlib
from pathlib import Path
from typing import Any

import pytest

import wdasync
from wdasync.backend import Completion
from wdasync.errors import DataCause, Status
from wdasync.operations import Compress, Decompress, Nop, Operation
from wdasync.registry import backend_names, get_backend
from wdasync.testing import check_accelerator, check_backend

STRANGER = Path(__file__).parents[1] / "stranger"
PAGE = b"a page of the server, " * 400

PROGRAM = """
import asyncio, gzip, sys, wdasync

async def main():
    page = b"a page of the server, " * 400
    async with wdasync.open_accelerator() as acc:
        result = await acc.execute(wdasync.Compress(page, "gzip"))
        assert gzip.decompress(await acc.compress(page, "gzip")) == page
        assert gzip.decompress(result.output) == page
        print(result.backend, result.device)

asyncio.run(main())
"""


def run(program: str, site: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program that finds the stranger's package; none of our own variables reach it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WDASYNC_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(site)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_chosen_by_a_variable(stranger_site: Path, tmp_path: Path) -> None:
    done = run(PROGRAM, stranger_site, tmp_path, WDASYNC_BACKEND="idxdlike")
    assert (done.stdout, done.stderr) == ("idxdlike iax1\n", "")


def test_it_is_chosen_by_a_file(stranger_site: Path, tmp_path: Path) -> None:
    (tmp_path / "wdasync.toml").write_text('backend = "idxdlike"\n[idxdlike]\nengines = 1\n')
    done = run(PROGRAM, stranger_site, tmp_path)
    assert (done.stdout, done.stderr) == ("idxdlike iax1\n", "")


def test_the_same_program_runs_on_the_mock(stranger_site: Path, tmp_path: Path) -> None:
    done = run(PROGRAM, stranger_site, tmp_path, WDASYNC_BACKEND="mock")
    assert (done.stdout, done.stderr) == ("mock mock-0\n", "")


def test_it_is_not_chosen_by_itself(stranger: str) -> None:
    assert stranger in backend_names()
    assert get_backend(stranger).automatic is None


def test_it_keeps_the_contract(stranger: str) -> None:
    report = check_backend(stranger)
    assert len(report.findings) > 100


def test_it_keeps_the_contract_with_one_engine_and_a_narrow_portal(stranger: str) -> None:
    options = get_backend(stranger).Options(engines=1, room=2)
    checks = ["exactly_one_completion", "whole_depth_can_be_used", "twins_on_one_device", "sleeper_is_woken"]
    check_backend(stranger, options, only=checks)


@pytest.mark.anyio
async def test_it_keeps_the_promises(stranger: str) -> None:
    report = await check_accelerator(stranger)
    assert len(report.findings) == 9


@pytest.mark.anyio
async def test_streams_go_elsewhere(stranger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device without streams is no obstacle while another backend may help."""
    async with wdasync.open_accelerator([stranger, "mock"]) as acc:
        async with acc.compressor("gzip") as stream:
            packed = await stream.compress(PAGE) + await stream.finish()
        assert gzip.decompress(packed) == PAGE
        result = await acc.execute(Compress(PAGE, "gzip"))
        assert result.backend == stranger


# What makes its shape another one


@pytest.fixture
def parts(stranger: str) -> dict[str, Any]:
    return {
        name: importlib.import_module(f"idxdlike.{name}")
        for name in ("hardware", "layout", "memory", "backend")
    }


def test_records_are_written_with_the_status_last(
    parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = parts["layout"]
    stores: list[tuple[int, int]] = []
    move = ctypes.memmove

    def watched(target: int, source: bytes, count: int) -> int:
        stores.append((target, count))
        return move(target, source, count)

    hardware = parts["hardware"].Hardware(1, 1)
    records = parts["memory"].Records(1)
    monkeypatch.setattr(parts["hardware"].ctypes, "memmove", watched)
    hardware.bind(5)
    flags = layout.Flag.RECORD_VALID | layout.Flag.REQUEST_RECORD
    descriptor = layout.Descriptor(5, layout.Opcode.NOOP << 24 | flags, records.address(0))
    assert not hardware.enqcmd(descriptor.pack())
    while not records.status(0):
        pass
    hardware.power_off()
    assert records.address(0) % layout.RECORD_SIZE == 0
    assert stores == [(records.address(0) + 1, 31), (records.address(0), 1)]
    assert layout.Record.unpack(records.read(0)).status == layout.Completed.SUCCESS
    records.close()


def test_an_unknown_pasid_is_not_translated(parts: dict[str, Any]) -> None:
    """The PASID is in each descriptor: work for another address space ends as a page fault, without an access."""
    backend = parts["backend"].IdxdBackend()
    device = backend.open(backend.devices()[0], backend.Options())
    device.pasid += 1
    queue = device.open_queue(4)
    assert one(queue, Compress(PAGE, "gzip")).status is Status.PAGE_FAULT
    queue.stop()
    queue.close()
    device.close()


def test_a_full_portal_takes_nothing(parts: dict[str, Any]) -> None:
    """One queue fills the shared work queue; the other's enqueue returns 0 though nothing of it is in flight."""
    backend = parts["backend"].IdxdBackend()
    device = backend.open(backend.devices()[0], backend.Options(room=2))
    first, second = device.open_queue(8), device.open_queue(8)
    with backend.provoker.stick(device):
        assert first.enqueue_burst([(tag, Nop()) for tag in range(4)]) == 2
        assert second.enqueue_burst([(1, Nop())]) == 0
        assert second.statistics().extra["portal_retries"] == 1
    first.stop()
    first.close()
    assert one(second, Nop()).status is Status.SUCCESS
    second.stop()
    second.close()
    device.close()


def test_a_store_to_a_portal_has_64_bytes(parts: dict[str, Any]) -> None:
    hardware = parts["hardware"].Hardware(1, 1)
    with pytest.raises(ValueError, match="64 bytes, this one 63"):
        hardware.enqcmd(bytes(63))
    hardware.power_off()


def test_causes_of_bad_data_come_out_of_the_record(parts: dict[str, Any]) -> None:
    backend = parts["backend"].IdxdBackend()
    device = backend.open(backend.devices()[0], backend.Options())
    queue = device.open_queue(4)
    packed = zlib.compress(PAGE)
    done = one(queue, Decompress(packed[:-2], "zlib"))
    assert (done.status, done.detail.cause) == (Status.DATA_ERROR, DataCause.TRUNCATED)
    done = one(queue, Decompress(packed + b"?", "zlib"))
    assert (done.status, done.detail.cause) == (Status.DATA_ERROR, DataCause.TRAILING_DATA)
    queue.stop()
    queue.close()
    device.close()


def one(queue: Any, operation: Operation) -> Completion:
    """Put one operation through, by looking again and again."""
    assert queue.enqueue_burst([(1, operation)]) == 1
    while not (taken := queue.dequeue_burst(1)):
        pass
    completion: Completion = taken[0]
    return completion


def test_it_can_be_installed_by_pip(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", reason="no build backend in this environment")
    import shutil

    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(STRANGER, source, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index",
         "--disable-pip-version-check", "--target", str(site), str(source)],
        check=True,
    )  # fmt: skip
    done = run(PROGRAM, site, tmp_path, WDASYNC_BACKEND="idxdlike")
    assert (done.stdout, done.stderr) == ("idxdlike iax1\n", "")


def test_its_metadata_is_what_the_tests_install(stranger_site: Path) -> None:
    project = tomllib.loads((STRANGER / "pyproject.toml").read_text())["project"]
    (written,) = stranger_site.glob("*.dist-info/entry_points.txt")
    assert project["entry-points"]["wdasync.backends"] == {"idxdlike": "idxdlike:backend"}
    assert written.read_text() == "[wdasync.backends]\nidxdlike = idxdlike:backend\n"
