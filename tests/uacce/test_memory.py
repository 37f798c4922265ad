"""Regions: one access each, inside the region, aligned; and what an address is."""

import mmap
import os
import struct
from pathlib import Path

import pytest

from wdasync_uacce import MemoryRegion, ProcessSpace, RegionKind
from wdasync_uacce.memory import address_of


@pytest.fixture
def memory() -> mmap.mmap:
    return mmap.mmap(-1, 4096)


@pytest.fixture
def region(memory: mmap.mmap) -> MemoryRegion:
    return MemoryRegion(RegionKind.DUS, address_of(memory), 4096, memory)


def test_words_are_little_endian_and_where_they_should_be(memory: mmap.mmap, region: MemoryRegion) -> None:
    region.store64(8, 0x0123456789ABCDEF)
    region.store32(4092, 0xDEADBEEF)
    assert struct.unpack_from("<Q", memory, 8) == (0x0123456789ABCDEF,)
    assert struct.unpack_from("<I", memory, 4092) == (0xDEADBEEF,)
    assert memory[16:4092] == bytes(4076)
    struct.pack_into("<QI", memory, 64, 2**64 - 1, 5)
    assert (region.load64(64), region.load32(72)) == (2**64 - 1, 5)


def test_bulk_access_copies(memory: mmap.mmap, region: MemoryRegion) -> None:
    region.write(100, b"abc")
    assert memory[99:104] == b"\0abc\0"
    assert region.read(99, 5) == b"\0abc\0"
    region.write(4096, b"")
    assert region.read(4096, 0) == b""


def test_the_view_is_the_memory(memory: mmap.mmap, region: MemoryRegion) -> None:
    view = region.view
    assert view is not None
    view[0] = 7
    assert (memory[0], len(view), region.address) == (7, 4096, address_of(memory))


@pytest.mark.parametrize("offset", [4, 12, 1])
def test_words_are_aligned(region: MemoryRegion, offset: int) -> None:
    with pytest.raises(
        ValueError, match=f"DUS region: expected an offset aligned to 8 bytes, got {offset:#x}"
    ):
        region.load64(offset)
    with pytest.raises(ValueError, match="aligned to 8"):
        region.store64(offset, 0)
    with pytest.raises(ValueError, match="aligned to 4"):
        region.store32(offset + 1, 0) if offset != 1 else region.load32(offset)


@pytest.mark.parametrize("offset", [-8, 4096, 1 << 40])
def test_nothing_outside_is_touched(region: MemoryRegion, offset: int) -> None:
    for access in (region.load64, region.load32):
        with pytest.raises(ValueError, match=r"DUS region: expected \d bytes within 0x1000, got offset"):
            access(offset)
    with pytest.raises(ValueError, match="within"):
        region.store64(offset, 1)
    with pytest.raises(ValueError, match="within"):
        region.store32(offset, 1)
    with pytest.raises(ValueError, match="within"):
        region.write(offset, b"x")
    with pytest.raises(ValueError, match="within"):
        region.read(offset, 1)


def test_a_region_that_is_not_mapped_any_more_is_not_touched(region: MemoryRegion) -> None:
    region.forget()
    with pytest.raises(ValueError, match="it is not mapped any more"):
        region.load32(0)
    with pytest.raises(ValueError, match="not mapped"):
        region.read(0, 1)
    assert region.view is None


def test_with_shared_addresses_an_address_is_a_pointer() -> None:
    space = ProcessSpace()
    buffer = bytearray(b"0123456789")
    address = space.grant(buffer, True)
    assert space.grant(memoryview(buffer)[4:], False) == address + 4
    assert MemoryRegion(RegionKind.DUS, address, 10).read(0, 10) == b"0123456789"
    space.revoke(address, 10, True)
    assert space.direct
    assert space.allocate(100) is None


def truncated(there: int, nbytes: int) -> mmap.mmap:
    """A mapped file whose end was cut off meanwhile."""
    memory = os.memfd_create("file")
    os.ftruncate(memory, nbytes)
    mapped = mmap.mmap(memory, nbytes)
    mapped[:] = bytes(range(1, 256)) * (nbytes // 255) + bytes(nbytes % 255)
    os.ftruncate(memory, there)
    os.close(memory)
    return mapped


@pytest.mark.parametrize("skip", [0, 1, 4095, 4096, 8191])
def test_what_is_left_of_a_truncated_file_is_copied_out(skip: int) -> None:
    view = memoryview(truncated(8192, 20_000))[skip:]
    found = ProcessSpace().peek([b"before", view, b"never"])
    assert found == b"before" + bytes(view[: 8192 - skip])
    assert ProcessSpace().peek([b"all", b"", memoryview(bytearray(b" of it"))]) == b"all of it"


@pytest.mark.parametrize("skip", [0, 1, 4095, 4096, 8191])
def test_what_is_left_of_a_truncated_file_is_stored_into(skip: int) -> None:
    view = memoryview(truncated(8192, 20_000))[skip:]
    data = b"\xff" * len(view)
    assert ProcessSpace().poke(view, data) == 8192 - skip
    assert view[: 8192 - skip] == data[: 8192 - skip]
    assert ProcessSpace().poke(memoryview(bytearray(3)), b"abc") == 3


def test_nothing_is_left(tmp_path: Path) -> None:
    view = memoryview(truncated(0, 4096))
    assert ProcessSpace().peek([view]) == b""
    assert ProcessSpace().poke(view, bytes(4096)) == 0


def test_what_has_no_bytes_has_no_address() -> None:
    with pytest.raises(TypeError):
        address_of("text")
