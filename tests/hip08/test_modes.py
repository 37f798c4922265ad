"""The five ways in which memory gets to the device: what the SMMU is told, who sees what, and who is kept out."""

import errno
import gzip
import mmap
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import wdasync
from wdasync.backend import PageFaults
from wdasync_hip08 import Hip08Device, Options, backend, dump, machines
from wdasync_hip08.chip import QM_BASE
from wdasync_hip08.functions import ZIP
from wdasync_hip08.kernel.modes import MODES, Mode, mode_of
from wdasync_hip08.kernel.pagetable import page_descriptor
from wdasync_hip08.kernel.spaces import Residency
from wdasync_hip08.machine import Machine
from wdasync_hip08.memory import PAGE
from wdasync_hip08.qm import registers as reg
from wdasync_hip08.qm.contexts import SqContext
from wdasync_hip08.qm.registers import MailboxCommand
from wdasync_hip08.smmu.context_descriptor import ContextDescriptor
from wdasync_hip08.smmu.events import EventCode
from wdasync_hip08.smmu.stream_table_entry import Config, S1Dss, StreamTableEntry
from wdasync_uacce import Slice
from wdasync_uacce.files import NodeFlag, RegionKind
from wdasync_uacce.memory import address_of

TEXT = b"".join(f"line {number} of a text that shrinks.\n".encode() for number in range(2000))
IOVA = 1 << 40
OK, REFUSED = 0, 3

#: Settings of each mode, by what stands in its row.
SETTINGS = {row.name: {"memory": row.memory, "residency": row.residency[-1]} for row in MODES}
MAPPED = [row for row in MODES if not row.shared and not row.region]


def ids(row: Mode) -> str:
    return row.name


@contextmanager
def raises_errno(number: int) -> Iterator[None]:
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == number, f"expected {errno.errorcode[number]}, got {caught.value}"


@pytest.fixture
def in_mode(new_machine: Any) -> Any:
    def make(row: Mode, **options: Any) -> Machine:
        machine: Machine = new_machine(**SETTINGS[row.name], region=1, **options)
        return machine

    return make


def tables(machine: Machine, pasid: int) -> tuple[StreamTableEntry, ContextDescriptor]:
    memory = machine.chip.memory
    return (
        StreamTableEntry.unpack(memory.read(machine.iommu.entry(ZIP.stream), 64)),
        ContextDescriptor.unpack(memory.read(machine.iommu.descriptor(ZIP.stream, pasid), 64)),
    )


class Program:
    """One queue of this process, with memory that the device can reach."""

    def __init__(self, machine: Machine, driver: Any) -> None:
        self.machine = machine
        self.driver = driver(machine)
        self.space = self.driver.file.space
        self.held: list[memoryview] = []

    def memory(self, content: bytes) -> memoryview:
        """New memory, on pages of its own."""
        memory = self.space.allocate(len(content))
        if memory is None:
            memory = memoryview(mmap.mmap(-1, -(-len(content) // PAGE) * PAGE))[: len(content)]
        memory[:] = content
        self.held.append(memory)
        return memory

    def compress(self, source: int, nbytes: int, destination: int, room: int) -> tuple[int, int]:
        """(status, bytes made)."""
        (words,) = self.driver.run(self.driver.entry(source, nbytes, destination, room))
        return words[3], words[1]


def gunzip(body: bytes) -> bytes:
    return gzip.decompress(bytes.fromhex("1f8b0800000000000003") + body)


class TestWhatTheSmmuIsTold:
    def test_there_are_five(self) -> None:
        assert len(MODES) == len(SETTINGS) == 5
        for row in MODES:
            for residency in row.residency:
                assert mode_of(Options(memory=row.memory, residency=residency)) is row

    @pytest.mark.parametrize("row", MODES, ids=ids)
    def test_stream_table_entry_and_context_descriptor(
        self, in_mode: Any, raw_driver: Any, row: Mode
    ) -> None:
        machine = in_mode(row)
        driver = raw_driver(machine)
        pasid = machine.process.pasid
        assert pasid is not None
        ste, cd = tables(machine, pasid)
        assert ste.config == Config.S1
        if row.substreams:
            assert (ste.s1cdmax, ste.s1fmt, ste.s1dss) == (16, 2, S1Dss.SUBSTREAM0)
            assert pasid > 0
            assert cd.ttb0 not in (0, machine.nodes[ZIP.name].dma.table.root)
        else:
            assert (ste.s1cdmax, ste.s1fmt) == (0, 0)
            assert pasid == 0
            assert ste.s1contextptr == machine.iommu.descriptor(ZIP.stream, 0)
            assert cd.ttb0 == machine.nodes[ZIP.name].dma.table.root
        assert ste.s1stalld == (not row.stall)
        assert (cd.v, cd.s, cd.r, cd.a, cd.asid) == (1, int(row.stall), 1, 1, machine.process.asid)
        sq = SqContext.unpack(
            machine.nodes[ZIP.name].qm.read_context(MailboxCommand.SQ_CONTEXT, driver.number)
        )
        assert sq.pasid == pasid
        for port in (reg.SGL_READ_USER, reg.DATA_READ_USER, reg.DATA_WRITE_USER):
            assert machine.chip.memory.read32(QM_BASE + port) & 1 == row.substreams
        shown = dump(machine)
        assert ("s1stalld=0x1" in shown) == (not row.stall)
        assert (" s=0x1" in shown) == row.stall
        assert ("s1cdmax=0x10" in shown) == row.substreams
        driver.file.close()
        if row.substreams:
            assert not tables(machine, pasid)[1].v

    def test_a_space_that_is_pinned_does_not_stall(self, machine: Machine, raw_driver: Any) -> None:
        space = machine.new_space("pinned", residency=Residency.PINNED)
        machine.map_memory(space, 0x10000, PAGE)
        driver = raw_driver(machine, space=space)
        assert space.pasid is not None
        assert not tables(machine, space.pasid)[1].s
        (words,) = driver.run(driver.entry(0x10000, 100, 0x10000, 100))
        assert words[3] == REFUSED
        assert machine.faults.counters.taken == 0
        assert machine.faults.counters.other_events[EventCode.F_TRANSLATION] == 1

    @pytest.mark.parametrize("row", MODES, ids=ids)
    def test_what_linux_shows(self, in_mode: Any, row: Mode) -> None:
        node = next(node for node in in_mode(row).discover() if node.name == ZIP.name)
        flags = {"sva": 1, "function": 0, "private": 4, "reserved": 128}[row.memory]
        assert node.flags == NodeFlag(flags)
        assert node.attributes["flags"] == f"{flags}\n"
        assert node.api == "hisi_qm_v2"
        assert row.region == (row.memory == "reserved")

    @pytest.mark.parametrize("row", MODES, ids=ids)
    def test_what_the_framework_is_told(self, row: Mode) -> None:
        options = Options(**SETTINGS[row.name])  # type: ignore[arg-type]  # texts, all of them
        device = backend.open(backend.devices()[0], options)
        assert device.sva == row.shared
        assert (device.page_faults is PageFaults.HANDLER) == row.stall
        for each in device.capabilities:
            if each.algorithm != "nop":
                assert each.paged == row.stall
                assert (each.max_output == 256 << 10) == row.region
        device.close()


class TestTheWayThere:
    @pytest.mark.parametrize("row", MODES, ids=ids)
    def test_addresses(self, in_mode: Any, raw_driver: Any, row: Mode) -> None:
        program = Program(in_mode(row), raw_driver)
        data, room = program.memory(TEXT[:5000]), program.memory(bytes(8000))
        source, target = program.space.grant(data, False), program.space.grant(room, True)
        pointer = address_of(data)
        assert (source == pointer) == row.shared
        assert row.shared or source >= IOVA
        status, made = program.compress(source, len(data), target, len(room))
        assert status == OK
        assert gunzip(bytes(room[:made])) == TEXT[:5000]

    @pytest.mark.parametrize("row", MODES, ids=ids)
    def test_no_way_round_the_smmu(self, in_mode: Any, raw_driver: Any, row: Mode) -> None:
        """Every byte is in the ledger, with the PASID that the mode gives it."""
        machine = in_mode(row)
        program = Program(machine, raw_driver)
        source = program.space.grant(program.memory(TEXT[:5000]), False)
        target = program.space.grant(program.memory(bytes(8000)), True)
        ledger = machine.chip.blocks[ZIP.name].port.ledger
        before = dict(ledger.read), dict(ledger.written)
        status, made = program.compress(source, 5000, target, 8000)
        assert status == OK
        read = {key: n - before[0].get(key, 0) for key, n in ledger.read.items()}
        written = {key: n - before[1].get(key, 0) for key, n in ledger.written.items()}
        if row.substreams:
            pasid = machine.process.pasid
            assert read == {None: 128, pasid: 5000}
            assert written == {None: 128 + 16, pasid: made}
        else:
            assert read == {None: 128 + 5000}
            assert written == {None: 128 + 16 + made}

    @pytest.mark.parametrize("row", MODES, ids=ids)
    def test_another_entry_of_the_table_is_another_page(
        self, in_mode: Any, raw_driver: Any, row: Mode
    ) -> None:
        machine = in_mode(row)
        program = Program(machine, raw_driver)
        mine, other = (program.memory(letter * PAGE) for letter in (b"m", b"o"))
        room = program.memory(bytes(2 * PAGE))
        source, elsewhere = program.space.grant(mine, False), program.space.grant(other, False)
        target = program.space.grant(room, True)
        space = machine.process
        space.resolve(elsewhere >> 12, write=False)
        frame = space.pages[elsewhere >> 12].frame
        assert frame is not None
        space.table.set(source >> 12, page_descriptor(frame.pa, writable=False))
        status, made = program.compress(source, PAGE, target, len(room))
        assert status == OK
        assert gunzip(bytes(room[:made])) == b"o" * PAGE

    @pytest.mark.anyio
    @pytest.mark.parametrize("row", MODES, ids=ids)
    async def test_the_whole_way(self, row: Mode) -> None:
        settings: dict[str, Any] = SETTINGS[row.name]
        async with wdasync.open_accelerator("hip08", fallback=False, inline=False, **settings) as acc:
            (machine,) = [found for found in machines() if found.mode is row]
            for algorithm in ("gzip", "zlib"):
                for data in (b"", b"x", TEXT, os.urandom(70_000)):
                    packed = await acc.compress(data, algorithm)
                    assert await acc.decompress(packed, algorithm) == data
            many = await acc.compress_many([TEXT[:1000]] * 200, "gzip")
            assert {gzip.decompress(each) for each in many} == {TEXT[:1000]}
            into = bytearray(len(TEXT))
            count = await acc.compress_into([TEXT[:20_000], bytearray(TEXT[20_000:])], into, "gzip")
            assert gzip.decompress(into[:count]) == TEXT
            book = wdasync.PagedBuffer(len(TEXT), pager)
            result = await acc.execute(wdasync.Compress(book, "gzip"))
            assert gzip.decompress(result.output or b"") == TEXT
            assert (result.faults > 0) == row.stall
            with pytest.raises(wdasync.DataError):
                await acc.decompress(b"no gzip at all", "gzip")
            frames = machine.chip.frames
            assert (frames.guard_violations, frames.stale_access) == (0, 0)
            assert acc.statistics().rescues == 0


async def pager(offset: int, length: int) -> bytes:
    await anyio.lowlevel.checkpoint()
    return TEXT[offset : offset + length]


class TestMappings:
    @pytest.fixture(params=MAPPED, ids=ids)
    def program(self, request: Any, in_mode: Any, raw_driver: Any) -> Program:
        return Program(in_mode(request.param), raw_driver)

    def refused(self, program: Program, source: int, target: int | None = None) -> None:
        """The device cannot read there, nobody is asked for a page, and the queue goes on."""
        room = program.memory(bytes(1000))
        target = target or program.space.grant(room, True)
        before = program.machine.faults.counters.other_events[EventCode.F_TRANSLATION]
        assert program.compress(source, 100, target, len(room)) == (REFUSED, 0)
        counters = program.machine.faults.counters
        assert counters.other_events[EventCode.F_TRANSLATION] == before + 1
        assert counters.taken == 0
        good = program.space.grant(program.memory(b"good"), False)
        assert program.compress(good, 4, target, len(room))[0] != REFUSED

    def test_a_pointer_is_no_address(self, program: Program) -> None:
        data = program.memory(TEXT[:1000])
        program.space.grant(data, False)
        self.refused(program, address_of(data))

    def test_what_was_unmapped_is_gone(self, program: Program) -> None:
        data, room = program.memory(TEXT[:1000]), program.memory(bytes(1000))
        source, target = program.space.grant(data, False), program.space.grant(room, True)
        assert program.compress(source, 100, target, 1000)[0] == OK  # It is in the TLB.
        program.space.revoke(source, 1000, False)
        assert program.machine.process.table.get(source >> 12) == 0
        assert program.machine.chip.frames.quarantined == 0
        self.refused(program, source, target)
        assert program.machine.chip.frames.stale_access == 0

    def test_an_address_is_used_again_for_something_else(self, program: Program) -> None:
        room = program.memory(bytes(1000))
        target = program.space.grant(room, True)
        seen = set()
        for letter in (b"a", b"b", b"c"):
            source = program.space.grant(program.memory(letter * 500), False)
            seen.add(source)
            status, made = program.compress(source, 500, target, 1000)
            assert status == OK
            assert gunzip(bytes(room[:made])) == letter * 500
            program.space.revoke(source, 500, False)
        assert len(seen) == 1

    def test_an_input_is_not_written(self, program: Program) -> None:
        data = program.memory(TEXT[:1000])
        source = program.space.grant(data, False)
        assert program.compress(source, 1000, source, 1000) == (REFUSED, 0)
        assert program.machine.faults.counters.other_events[EventCode.F_PERMISSION] == 1
        assert bytes(data) == TEXT[:1000]

    def test_behind_the_last_page_is_nothing(self, program: Program) -> None:
        first, _ = (program.space.grant(program.memory(bytes(PAGE)), False) for _ in range(2))
        self.refused(program, first + PAGE - 50)

    def test_a_page_that_cannot_be_had(self, program: Program, tmp_path: Any) -> None:
        path = tmp_path / "short"
        path.write_bytes(bytes(2 * PAGE))
        with path.open("r+b") as file:
            mapped = mmap.mmap(file.fileno(), 2 * PAGE)
            file.truncate(PAGE)
        with raises_errno(errno.EFAULT):
            program.space.grant(mapped, False)
        assert program.machine.process.granted() == 0
        assert program.machine.chip.frames.live == 0
        program.space.grant(memoryview(mapped)[:PAGE], False)

    def test_a_paged_buffer_is_nothing_to_map(self, program: Program) -> None:
        with pytest.raises(TypeError):
            program.space.grant(wdasync.PagedBuffer(PAGE, pager), False)

    def test_closing_unmaps_everything(self, program: Program) -> None:
        data = program.memory(TEXT[:1000])
        source = program.space.grant(data, False)
        assert program.machine.chip.frames.live
        program.driver.file.close()
        assert program.machine.chip.frames.live == 0
        assert program.machine.process.table.get(source >> 12) == 0
        program.space.revoke(source, 1000, False)  # Too late, and harmless.

    def test_no_memory_for_tables(self, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
        def none(*args: object) -> None:
            raise MemoryError("no RAM")

        data = program.memory(bytes(PAGE))
        monkeypatch.setattr(program.machine.process.table, "entry", none)
        with pytest.raises(MemoryError):
            program.space.grant(data, False)
        monkeypatch.undo()
        assert program.machine.chip.frames.live == 0
        first = program.space.grant(data, False)
        program.space.revoke(first, PAGE, False)
        assert program.space.grant(data, False) == first

    def test_ranges_do_not_meet(self, program: Program) -> None:
        held: list[range] = []
        for pages in (1, 3, 1, 16, 2, 5):
            at = program.space.grant(program.memory(bytes(pages * PAGE)), False)
            place = range(at, at + pages * PAGE + 1)
            assert not any(place.start < other.stop and other.start < place.stop for other in held)
            held.append(place)


class TestIsolation:
    @pytest.mark.parametrize("memory", ["private", "reserved"])
    def test_the_same_iova_is_another_page_for_another(
        self, new_machine: Any, raw_driver: Any, memory: str
    ) -> None:
        machine = new_machine(memory=memory)
        drivers = []
        for name in (b"first", b"second"):
            space = machine.new_space(name.decode())
            own = machine.map_memory(space, IOVA, 4 * PAGE)
            own.poke(0, name * 100)
            space.grant(IOVA, 4 * PAGE, writable=True)
            drivers.append((raw_driver(machine, space=space), own, name))
        for driver, own, name in drivers:
            (words,) = driver.run(driver.entry(IOVA, len(name) * 100, IOVA + PAGE, PAGE))
            assert words[3] == OK
            assert gunzip(own.peek(PAGE, words[1])) == name * 100
        stranger = raw_driver(machine, space=machine.new_space("stranger"))
        (words,) = stranger.run(stranger.entry(IOVA, 100, IOVA + PAGE, PAGE))
        assert words[3] == REFUSED
        assert machine.faults.counters.other_events[EventCode.F_TRANSLATION] == 1

    def test_who_owns_the_function_owns_it_alone(self, new_machine: Any, raw_driver: Any) -> None:
        machine = new_machine(memory="function")
        owner = Program(machine, raw_driver)
        second = machine.open(ZIP.name)  # The same process may have more queues.
        other = machine.new_space("another process")
        with raises_errno(errno.EBUSY):
            machine.open(ZIP.name, other)
        source = owner.space.grant(owner.memory(TEXT[:1000]), False)
        owner.driver.file.close()
        with raises_errno(errno.EBUSY):
            machine.open(ZIP.name, other)
        second.close()
        driver = raw_driver(machine, space=other)
        with raises_errno(errno.EBUSY):
            machine.open(ZIP.name)
        machine.map_memory(other, 0x5000_0000_0000, PAGE)
        other.grant(0x5000_0000_0000, PAGE, writable=True)
        (words,) = driver.run(driver.entry(source, 100, 0x5000_0000_0000, PAGE))
        assert words[3] == REFUSED
        assert not machine.bindings.pasids.used

    def test_a_function_without_substreams_takes_no_pasid(self, new_machine: Any, raw_driver: Any) -> None:
        machine = new_machine(memory="function")
        program = Program(machine, raw_driver)
        source = program.space.grant(program.memory(TEXT[:1000]), False)
        target = program.space.grant(program.memory(bytes(1000)), True)
        machine.chip.memory.write32(QM_BASE + reg.DATA_READ_USER, 0x40001071)
        assert program.compress(source, 100, target, 1000) == (REFUSED, 0)
        assert machine.faults.counters.other_events[EventCode.C_BAD_SUBSTREAMID] == 1

    def test_a_stream_that_may_not_stall_cannot_be_told_to(self, new_machine: Any, raw_driver: Any) -> None:
        machine = new_machine(memory="private")
        program = Program(machine, raw_driver)
        source = program.space.grant(program.memory(TEXT[:1000]), False)
        space = machine.process
        machine.iommu.bind(ZIP.stream, space.pasid, space.table, space.asid, stall=True)
        assert program.compress(source, 100, source, 100) == (REFUSED, 0)
        assert machine.faults.counters.other_events[EventCode.C_BAD_CD] == 1


class TestReservedRegion:
    @pytest.fixture
    def machine(self, new_machine: Any) -> Machine:
        made: Machine = new_machine(memory="reserved", region=1)
        return made

    def test_it_is_mapped_and_told_in_slices(self, machine: Machine) -> None:
        file = machine.open(ZIP.name)
        with raises_errno(errno.EINVAL):
            file.dma_slice(0)
        region = file.map(RegionKind.STATIC_SHARE)
        assert (region.kind, region.size) == (RegionKind.STATIC_SHARE, 1 << 20)
        with raises_errno(errno.EEXIST):
            file.map(RegionKind.STATIC_SHARE)
        word, more = file.dma_slice(0)
        assert Slice.decode(word) == (IOVA, 1 << 20)
        assert not more
        with raises_errno(errno.EINVAL):
            file.dma_slice(1)
        with raises_errno(errno.EINVAL):
            file.map(3)  # type: ignore[arg-type]  # no region
        region.store32(64, 7)
        assert region.load32(64) == 7
        with pytest.raises(ValueError, match="STATIC_SHARE"):
            region.load64(1 << 20)
        assert file.space.grant(region.view[64:68], False) == IOVA + 64
        file.close()

    def test_unmapping_takes_it_from_the_device(self, machine: Machine) -> None:
        file = machine.open(ZIP.name)
        region = file.map(RegionKind.STATIC_SHARE)
        assert machine.chip.frames.live == 256
        file.unmap(region)
        assert machine.chip.frames.live == 0
        assert machine.process.table.get(IOVA >> 12) == 0
        with raises_errno(errno.EINVAL):
            file.dma_slice(0)
        file.map(RegionKind.STATIC_SHARE)
        file.close()
        assert machine.chip.frames.live == 0

    def test_each_queue_has_its_own(self, machine: Machine, raw_driver: Any) -> None:
        first, second = Program(machine, raw_driver), Program(machine, raw_driver)
        mine, theirs = first.memory(b"mine"), second.memory(b"theirs")
        assert abs(first.space.grant(mine, False) - second.space.grant(theirs, False)) >= 1 << 20
        with raises_errno(errno.EFAULT):
            first.space.grant(theirs, False)

    def test_memory_is_there_as_long_as_somebody_looks_at_it(self, machine: Machine, raw_driver: Any) -> None:
        program = Program(machine, raw_driver)
        memory = program.memory(b"kept")
        program.driver.file.close()
        machine.close()
        assert bytes(memory) == b"kept"

    def test_no_frames_for_it(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        def none(*args: object) -> None:
            raise MemoryError("no frames")

        file = machine.open(ZIP.name)
        monkeypatch.setattr(machine.chip.frames, "checked", none)
        with pytest.raises(MemoryError):
            file.map(RegionKind.STATIC_SHARE)
        monkeypatch.undo()
        file.map(RegionKind.STATIC_SHARE)
        file.close()

    @pytest.mark.parametrize("memory", ["sva", "private", "function"])
    def test_others_have_none(self, new_machine: Any, memory: str) -> None:
        file = new_machine(memory=memory).open(ZIP.name)
        with raises_errno(errno.EINVAL):
            file.map(RegionKind.STATIC_SHARE)


class TestSettings:
    @pytest.mark.parametrize("memory", ["private", "function", "reserved"])
    @pytest.mark.parametrize("residency", ["cold", "pinned"])
    def test_residency_is_for_shared_addresses(self, memory: str, residency: str) -> None:
        with pytest.raises(ValueError, match=f"residency: expected nothing with memory={memory}"):
            Options(memory=memory, residency=residency)

    @pytest.mark.parametrize(("name", "value"), [("memory", "virtual"), ("region", 0), ("region", 256)])
    def test_values(self, name: str, value: Any) -> None:
        with pytest.raises(ValueError, match=f"{name}: expected"):
            Options(**{name: value})

    @pytest.mark.anyio
    @pytest.mark.parametrize("row", [row for row in MODES if not row.stall], ids=ids)
    async def test_a_handler_that_nobody_would_ask_is_refused(self, row: Mode) -> None:
        async def handler(fault: wdasync.PageFault) -> wdasync.FaultResponse:
            raise AssertionError

        settings: dict[str, Any] = SETTINGS[row.name]
        with pytest.raises(wdasync.BackendUnavailable, match="expected no on_fault, got one"):
            async with wdasync.open_accelerator("hip08", fallback=False, on_fault=handler, **settings):
                pass

    def test_a_device_says_its_mode(self) -> None:
        device = backend.open(backend.devices()[0], Options(memory="private"))
        assert isinstance(device, Hip08Device)
        assert device.machine.mode.name == "private tables for each PASID"
        device.close()


@pytest.mark.anyio
async def test_more_at_once_than_a_region_holds() -> None:
    """Each begins with little room and needs much: they wait for each other, and none fails."""
    content = b"".join(bytes([number % 251]) * 300 for number in range(300))
    packed = zlib.compress(content)
    results: list[bytes] = []

    async with wdasync.open_accelerator("hip08", fallback=False, memory="reserved", region=1) as acc:

        async def one() -> None:
            results.append(await acc.decompress(packed, "zlib"))

        async with anyio.create_task_group() as group:
            for _ in range(60):
                group.start_soon(one)
        shortages = sum(lane.queue.extra.get("shortages", 0) for lane in acc.statistics().lanes)
    assert set(results) == {content}
    assert shortages
