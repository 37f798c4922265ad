"""The plug-in: its table, its options, its health checks, its place in the contract."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import wdasync_cpu
from tests.cpu.support import BACKEND, VARIANTS, open_device, python, run
from wdasync.backend import Check, DeviceInfo, PageFaults
from wdasync.errors import BackendUnavailable, DataCause, Status
from wdasync.operations import Flush, Kind, Nop
from wdasync.testing import check_backend
from wdasync_cpu import Options, binding, codecs, trials
from wdasync_cpu.backend import CpuBackend, available
from wdasync_cpu.devices import usable_cores

NATIVE = Path(wdasync_cpu.__file__).parent / "native"


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_queue_contract(variant: str) -> None:
    report = check_backend(CpuBackend(VARIANTS[variant]))
    assert not report.failed


def test_who_does_what() -> None:
    everything = frozenset(codecs.IMPLEMENTATIONS)
    for kind in (Kind.COMPRESS, Kind.COMPRESS_CHUNK):
        for algorithm, row in codecs.ALGORITHMS.items():
            if (kind, algorithm) == (Kind.COMPRESS_CHUNK, "lz4-block"):
                continue  # a block is a whole
            for level in range(row.scale[0], row.scale[1] + 1):
                assert codecs.choose(kind, algorithm, level, row.window, everything)
    choose = codecs.choose
    assert choose(Kind.COMPRESS, "gzip", 1, 15, everything) == ("isal", 1)
    assert choose(Kind.COMPRESS, "gzip", 6, 15, everything) == ("libdeflate", 6)
    assert choose(Kind.COMPRESS, "gzip", 12, 15, everything) == ("libdeflate", 12)
    assert choose(Kind.COMPRESS, "gzip", 12, 14, everything) == ("zlib", 9)
    assert choose(Kind.COMPRESS, "gzip", 1, 15, {"zlib", "deflate-package", "isal-package"}) == (
        "isal-package",
        1,
    )
    assert choose(Kind.COMPRESS, "gzip", 6, 15, {"zlib", "deflate-package"}) == ("deflate-package", 6)
    assert choose(Kind.COMPRESS, "gzip", 6, 15, {"zlib-module"}) == ("zlib-module", 6)
    assert choose(Kind.COMPRESS, "br", 4, 22, {"zlib-module"}) is None
    assert choose(Kind.COMPRESS_CHUNK, "gzip", 6, 15, everything) == ("zlib", 6)
    assert choose(Kind.DECOMPRESS, "gzip", 0, 15, everything) == ("libdeflate", 0)
    assert choose(Kind.DECOMPRESS, "deflate", 0, 15, everything) == ("zlib", 0)
    assert choose(Kind.DECOMPRESS_CHUNK, "gzip", 0, 15, everything) == ("zlib", 0)


def test_every_choice_has_a_cost_and_costs_grow_with_the_level() -> None:
    for kind, formats in codecs.TABLE.items():
        for levels in formats.values():
            for choices in levels.values():
                assert all(codecs.cost(kind, choice).fixed > 0 for choice in choices)
    for levels_of_one in codecs.COMPRESS_COSTS.values():
        costs = [levels_of_one[level] for level in sorted(levels_of_one)]
        assert costs == sorted(costs)


def test_what_is_not_here_has_a_remedy() -> None:
    assert open_device("all").lacking == {}
    lacking = open_device("standard library").lacking
    assert {"br", "zstd", "lz4", "lz4-block", "aes-256-gcm", "rsa"} < set(lacking)
    assert "sha256" not in lacking
    assert 'pip install "wdasync[crypto]"' in lacking["aes-256-gcm"]
    assert 'pip install "wdasync[zstd]"' in lacking["zstd"]


def test_streams_of_zstandard_have_a_bound_on_their_memory() -> None:
    """A level that would take 800 MB is mapped, and counted."""
    rows = open_device("all").capabilities
    one_call, stream = (rows.find(kind, "zstd") for kind in (Kind.COMPRESS, Kind.COMPRESS_CHUNK))
    assert one_call is not None
    assert stream is not None
    assert (one_call.levels, stream.levels, stream.scale) == ((-7, 22), (-7, 19), (-7, 22))
    assert stream.best == one_call.best == 19


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_table_says_what_there_is(variant: str) -> None:
    table = open_device(variant).capabilities
    row = table.find(Kind.COMPRESS, "gzip")
    assert row is not None
    assert row.levels == ((0, 12) if variant in ("all", "packages") else (0, 9))
    assert (row.default, row.balanced, row.best) == (1, 6, row.levels[1])
    assert (table.find(Kind.COMPRESS, "br") is None) == (variant == "standard library")
    stream = table.find(Kind.COMPRESS_CHUNK, "gzip")
    assert stream is not None
    assert stream.levels == (0, 9)


def enumerators(name: str) -> dict[str, int]:
    """The members of an enum of the C side."""
    text = (NATIVE / "request.h").read_text()
    found = re.search(rf"enum {name} \{{([^}}]*)\}}", text)
    assert found is not None
    prefix = f"{name.upper()}_"
    return {
        word.strip().removeprefix(prefix): index
        for index, word in enumerate(found[1].split(","))
        if word.strip()
    }


def test_the_c_side_counts_alike() -> None:
    assert enumerators("status") == {status.name: status.value for status in Status}
    kinds = {kind.name: kind.value for kind in Kind}
    assert enumerators("kind") == kinds | {"HAND_OVER": len(kinds)}
    assert enumerators("flush") == {flush.name: flush.value for flush in Flush}
    assert list(enumerators("cause")) == ["NONE", *(cause.name for cause in DataCause)]
    assert enumerators("format") == {each.name: each.value for each in codecs.Format}
    assert enumerators("engine") == {"NONE": 0} | {each.name: each.value for each in codecs.Engine}


def test_the_device() -> None:
    (info,) = BACKEND.devices()
    assert info.name == "cpu0"
    assert str(usable_cores()) in info.description
    device = BACKEND.open(info, Options())
    assert (device.sva, device.page_faults, device.lost) == (True, PageFaults.KERNEL, None)
    assert (device.serve is not None) == any(row.paged for row in device.capabilities)
    assert device.allocate(10) is None
    device.reset()
    device.close()
    with pytest.raises(BackendUnavailable, match="queue_class"):
        device.open_queue(4, queue_class="other")


def test_another_device() -> None:
    with pytest.raises(BackendUnavailable, match="cpu0"):
        BACKEND.open(DeviceInfo("cpu", "cpu1"), Options())


def test_page_faults_are_the_kernels() -> None:
    async def handler(_: object) -> object:
        raise NotImplementedError

    with pytest.raises(BackendUnavailable, match="on_fault"):
        BACKEND.open(BACKEND.devices()[0], Options(), on_fault=handler)  # type: ignore[arg-type]  # never called


@pytest.mark.parametrize("workers", [1, 3])
def test_there_are_as_many_workers_as_the_one_that_wants_most(workers: int) -> None:
    code = f"""
from tests.cpu.support import open_device
from wdasync_cpu import binding
open_device(workers=1)
print(binding.workers())
open_device(workers={workers})
print(binding.workers())
open_device(workers=1)
print(binding.workers())
"""
    assert python(code).split() == ["1", str(workers), str(workers)]


def test_workers_by_default_leave_a_core_to_the_loop() -> None:
    code = """
import os
from tests.cpu.support import open_device
from wdasync_cpu import binding
cores = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, cores[:1])
open_device()
print(binding.workers())
os.sched_setaffinity(0, cores)
open_device()
print(binding.workers() == max(1, len(cores) - 1))
"""
    assert python(code).split() == ["1", "True"]


def test_workers_do_not_take_signals() -> None:
    """A signal meant for the program must not end up in a thread that cannot run its handler."""
    code = """
import os, signal, threading
from pathlib import Path
from tests.cpu.support import open_device, run
from wdasync.operations import Nop
queue = open_device(workers=2).open_queue(4)
run(queue, [Nop()])
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(threading.current_thread().name))
for _ in range(20):
    os.kill(os.getpid(), signal.SIGUSR1)
queue.close()
masks = []
for thread in Path("/proc/self/task").iterdir():
    status = (thread / "status").read_text()
    if "wdasync-cpu" in status:
        masks.append(int(status.partition("SigBlk:")[2].split()[0], 16) >> (signal.SIGUSR1 - 1) & 1)
print(set(seen), masks)
"""
    assert python(code).strip() == "{'MainThread'} [1, 1]"


def test_options_have_bounds() -> None:
    fields = {field.name: field.metadata for field in dataclasses.fields(Options)}
    assert fields["workers"]["least"] == fields["threads"]["least"] == 1


def test_without_native_codecs() -> None:
    found = available(native_codecs=False)
    assert found >= {"zlib-module"}
    assert not found & {"isal", "libdeflate", "brotli"}
    device = BACKEND.open(BACKEND.devices()[0], Options(native_codecs=False))
    queue = device.open_queue(4)
    assert run(queue, [Nop()])[0].status is Status.SUCCESS
    queue.close()


def test_health() -> None:
    found = list(BACKEND.diagnose(Options()))
    names = [check.name for check in found]
    assert names[: len(binding.LIBRARIES)] == [f"library {name}" for name in binding.LIBRARIES]
    assert {"workers", "round trip gzip", "round trip zlib", "round trip deflate", "round trip br"} <= set(
        names
    )
    assert all(check.passed in (True, None) for check in found)
    assert all(check.advice for check in found if check.passed is None)


def test_health_without_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "problem", lambda name: "not found" if name == "isal" else "")
    check = next(check for check in BACKEND.diagnose(Options()) if check.name == "library isal")
    assert check.passed is None
    assert "apt install" in check.advice
    assert "isal" in check.found


def test_health_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(binding, "start_workers", refuse)
    found = list(BACKEND.diagnose(Options()))
    assert found[-1] == Check("workers", passed=False, found=found[-1].found, advice=found[-1].advice)
    assert "temporarily unavailable" in found[-1].found
    assert "ulimit" in found[-1].advice


def test_health_of_a_codec_that_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "SAMPLE", b"other data" * 100)
    monkeypatch.setattr("wdasync_cpu.devices.CpuInline.run", lambda *_: wdasync_cpu_completion())
    found = [check for check in BACKEND.diagnose(Options()) if check.name.startswith("round trip")]
    assert found
    assert all(check.passed is False and check.advice for check in found)


def wdasync_cpu_completion() -> object:
    from wdasync.backend import Completion

    return Completion(0, Status.SUCCESS, b"wrong")


@pytest.mark.parametrize("name", ["isal", "libdeflate", "zlib", "brotli"])
def test_a_library_that_does_not_keep_its_promise_is_not_used(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial compares with the standard library, so output of another format is noticed."""
    monkeypatch.setattr(trials, "_run", lambda operation, implementation: b"")
    assert trials.problem.__wrapped__(name)


#: What is said of each library but zlib if WDASYNC_BUILD_NATIVE_CODECS was 0 when the extension was built.
LEFT_OUT = "left out when wdasync was built"


def test_a_library_that_is_not_there() -> None:
    code = """
from wdasync_cpu import binding
binding.LIBRARIES["isal"] = binding.Library(("libnot-there.so.9",), "not_there.at_all", "", "apt install it")
binding.LIBRARIES["libdeflate"] = binding.Library(("libc.so.6",), "", "", "apt install it")
print(binding.library_problem("isal"))
print(binding.library_problem("libdeflate"))
print(binding.library_problem("zlib") == "")
from tests.cpu.support import open_device, run, good
from wdasync.operations import Compress
queue = open_device().open_queue(4)
print(run(queue, [Compress(b"x", "gzip")])[0].detail.where)
queue.close()
"""
    missing, wrong, zlib_found, where = python(code).splitlines()
    if binding.library_problem("brotli") == LEFT_OUT:
        assert (missing, wrong) == (LEFT_OUT, LEFT_OUT)
    else:
        assert "libnot-there" in missing
        assert wrong == "it has no function libdeflate_alloc_compressor"
    assert zlib_found == "True"
    assert where.startswith("thread")
