"""Physical memory, frames and backings: what answers where, and what a device gets for a bad address."""

import ctypes
import mmap
import os
import tempfile

import pytest

from wdasync_hip08.backings import Memfd, OwnProcess
from wdasync_hip08.frames import Frames, FrameState
from wdasync_hip08.memory import PAGE, BusError, Mmio, PhysicalMemory, Ram


def address_of(buffer: object) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))  # type: ignore[arg-type]  # any writable buffer


@pytest.fixture
def ram():
    ram = Ram(0x4000_0000, 64 * PAGE)
    yield ram
    ram.close()


def test_ram_hands_out_zeroed_pages_and_takes_them_back(ram: Ram) -> None:
    first = ram.allocate(PAGE + 1)
    ram.write(first, b"x" * (2 * PAGE))
    ram.free(first)
    assert ram.allocate(2 * PAGE) == first
    assert ram.read(first, 2 * PAGE) == bytes(2 * PAGE)
    with pytest.raises(KeyError):
        ram.free(first + PAGE)
    with pytest.raises(MemoryError, match="ram: expected room for 64 pages"):
        ram.allocate(64 * PAGE)


def test_an_alias_is_the_same_memory_elsewhere(ram: Ram) -> None:
    pa = ram.allocate(2 * PAGE)
    alias = ram.alias(pa, 2 * PAGE)
    ram.write64(pa + 8, 0x1122_3344_5566_7788)
    assert alias.view[8:16] == bytes.fromhex("8877665544332211")
    alias.view[PAGE] = 7
    assert ram.read(pa + PAGE, 1) == b"\7"
    alias.close()
    alias.close()


def test_words_are_atomic_and_compared(ram: Ram) -> None:
    pa = ram.allocate(PAGE)
    assert ram.compare_exchange64(pa, 0, 5) == 0
    assert ram.compare_exchange64(pa, 0, 6) == 5
    assert ram.read64(pa) == 5
    ram.write16(pa + 2, 0xBEEF)
    assert ram.read64(pa) == 0xBEEF_0005


def test_windows_are_told_apart_by_address(ram: Ram) -> None:
    memory = PhysicalMemory(ram)
    stores = []
    memory.add(Mmio(0x1000_0000, PAGE, "registers", lambda at, n: at * n, lambda *args: stores.append(args)))
    memory.write64(0x1000_0008, 3)
    memory.write32(0x1000_000C, 4)
    assert stores == [(8, 8, 3), (12, 4, 4)]
    assert memory.read32(0x1000_0004) == 16
    assert memory.read64(0x1000_0008) == 64
    for bad in (0, 0x1000_0FFC, ram.base - 4, ram.base + ram.size):
        with pytest.raises(BusError):
            memory.read64(bad)
    with pytest.raises(BusError):
        memory.read(0x1000_0000, 3)
    with pytest.raises(BusError):
        memory.compare_exchange64(0x1000_0000, 0, 0)
    with pytest.raises(ValueError, match="overlaps registers"):
        memory.add(Mmio(0x1000_0800, PAGE, "more", lambda at, n: 0, lambda *args: None))


def test_frame_numbers_are_scrambled_by_the_seed() -> None:
    backing = OwnProcess()

    def order(seed: int) -> list[int]:
        frames = Frames(1 << 40, seed=seed)
        return [frames.allocate(backing, page, []).number for page in range(16)]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1) != sorted(order(1))


def test_a_frame_refuses_what_was_not_granted() -> None:
    frames = Frames(1 << 40)
    memory = Memfd(PAGE)
    memory.poke(0, bytes(range(256)) * 16)
    frame = frames.allocate(memory, 0, [(16, 32, False), (32, 48, True)])
    assert frames.read(frame.pa + 20, 28) == bytes(range(20, 48))  # Two grants that touch.
    frames.write(frame.pa + 32, b"new")
    assert memory.peek(32, 3) == b"new"
    for pa, n in ((15, 2), (47, 2), (0, 1)):
        with pytest.raises(BusError):
            frames.read(frame.pa + pa, n)
    with pytest.raises(BusError):
        frames.write(frame.pa + 31, b"xx")  # The first of the two is granted for reading.
    assert frames.guard_violations == 4
    assert frames.stale_access == 0
    memory.close()


def test_a_quarantined_frame_is_free_only_after_a_sync() -> None:
    frames = Frames(1 << 40)
    memory = Memfd(PAGE)
    frame = frames.allocate(memory, 0, [(0, PAGE, True)])
    frames.quarantine(frame)
    with pytest.raises(BusError):
        frames.read(frame.pa, 1)
    assert frames.stale_access == 1
    assert frames.release_quarantined() == 1
    assert frame.state is FrameState.FREE
    with pytest.raises(BusError):
        frames.write(frame.pa, b"x")
    assert frames.stale_access == 2
    with pytest.raises(ValueError, match="expected one of"):
        frames.quarantine(frame)
    memory.close()


def test_frames_run_out_and_come_again() -> None:
    frames = Frames(1 << 40, bits=2)
    pages = OwnProcess()
    taken = [frames.allocate(pages, number, []) for number in range(4)]
    with pytest.raises(MemoryError, match="all 4 in use"):
        frames.allocate(pages, 4, [])
    frames.quarantine(taken[1])
    frames.release_quarantined()
    assert frames.allocate(pages, 4, []) is taken[1]


class TestOwnProcess:
    """DMA into this process never raises a signal, whatever the address."""

    def test_reads_and_writes_in_pieces(self) -> None:
        own = OwnProcess()
        buffer = bytearray(b"0123456789")
        at = address_of(buffer)
        assert own.read([(at + 8, 2), (at, 3)]) == b"89012"
        assert own.write([(at, 1), (at + 9, 1)], b"ab") == 2
        assert buffer == b"a12345678b"

    def test_a_hole_is_a_short_copy(self) -> None:
        own = OwnProcess()
        area = mmap.mmap(-1, 3 * PAGE)
        at = address_of(area)
        area[:5] = b"hello"
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.munmap(ctypes.c_void_p(at + PAGE), ctypes.c_size_t(PAGE)) == 0
        assert own.read([(at, 5), (at + PAGE, 4), (at + 2 * PAGE, 4)]) == b"hello"
        assert own.write([(at + PAGE, 4)], b"lost") == 0
        # Put something back, so that closing the map does not unmap somebody else's page.
        mapped = libc.mmap
        mapped.restype = ctypes.c_void_p
        mapped.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
        assert mapped(at + PAGE, PAGE, 3, 0x32, -1, 0) == at + PAGE

    @pytest.mark.parametrize("address", [0, 1 << 20, (1 << 47) - PAGE, 1 << 63, (1 << 64) - 16])
    def test_wild_addresses(self, address: int) -> None:
        own = OwnProcess()
        assert own.read([(address, 16)]) == b""
        assert own.write([(address, 16)], bytes(16)) == 0

    def test_read_only_memory_is_not_written(self) -> None:
        own = OwnProcess()
        with tempfile.TemporaryFile() as file:
            file.write(b"constant" * 512)
            file.flush()
            area = mmap.mmap(file.fileno(), PAGE, access=mmap.ACCESS_COPY)
            at = address_of(area)
            libc = ctypes.CDLL(None)
            assert libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(PAGE), 1) == 0
            assert own.read([(at, 8)]) == b"constant"
            assert own.write([(at, 8)], b"changed!") == 0
            assert not own.populate(at // PAGE, 1, writable=True)
            assert own.populate(at // PAGE, 1, writable=False)

    def test_copy_on_write_leaves_the_file_alone(self) -> None:
        own = OwnProcess()
        with tempfile.TemporaryFile() as file:
            file.write(b"original" * 512)
            file.flush()
            area = mmap.mmap(file.fileno(), PAGE, access=mmap.ACCESS_COPY)
            assert own.write([(address_of(area), 8)], b"private!") == 8
            assert area[:8] == b"private!"
            assert os.pread(file.fileno(), 8, 0) == b"original"

    def test_a_truncated_file_is_a_short_copy(self) -> None:
        own = OwnProcess()
        with tempfile.TemporaryFile() as file:
            os.ftruncate(file.fileno(), 2 * PAGE)
            area = mmap.mmap(file.fileno(), 2 * PAGE)
            at = address_of(area)
            area[PAGE] = 1
            os.ftruncate(file.fileno(), PAGE)
            assert own.read([(at, 4), (at + PAGE, 4)]) == bytes(4)
            assert own.write([(at + PAGE, 4)], b"gone") == 0
            assert not own.populate(at // PAGE + 1, 1, writable=False)

    def test_knows_which_pages_are_there(self) -> None:
        own = OwnProcess()
        area = mmap.mmap(-1, 4 * PAGE)
        page = address_of(area) // PAGE
        area[2 * PAGE] = 1
        assert list(own.present(page, 4)) == [False, False, True, False]
        assert own.populate(page, 1, writable=True)
        assert list(own.present(page, 4)) == [True, False, True, False]
        own.close()
