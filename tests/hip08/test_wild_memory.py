"""Memory that is not there any more, through the whole driver: an error of the operation, never the end of the process.

The driver reads headers and trailers, joins small pieces and writes headers: it touches the memory of its caller, too.
"""

import gzip
import mmap
import os
import zlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import wdasync

pytestmark = pytest.mark.anyio
PAGE = 4096
TEXT = b"".join(f"line {number} of a text that shrinks.\n".encode() for number in range(2000))
PACKED = gzip.compress(os.urandom(20 * PAGE))


def open_chip(**options: Any) -> Any:
    return wdasync.open_accelerator("hip08", fallback=False, **options)


@pytest.fixture
def shrunk(tmp_path: Path) -> Iterator[Callable[..., mmap.mmap]]:
    """Maps a file with this content, and cuts the file to ``left`` bytes under the mapping."""
    areas: list[mmap.mmap] = []

    def make(content: bytes, left: int = 0) -> mmap.mmap:
        path = tmp_path / f"file {len(areas)}"
        path.write_bytes(content)
        with path.open("r+b") as file:
            area = mmap.mmap(file.fileno(), 0)
            file.truncate(left)
        areas.append(area)
        return area

    yield make
    for area in areas:
        area.close()


Use = Callable[[Any, mmap.mmap], Awaitable[object]]

SOURCES: dict[str, tuple[bytes, int, Use]] = {
    "compress": (TEXT, PAGE, lambda acc, area: acc.compress(area)),
    "pieces that are joined": (
        TEXT,
        0,
        lambda acc, area: acc.compress([memoryview(area)[at : at + 100] for at in range(0, 2000, 100)]),
    ),
    "pieces that are listed": (
        TEXT,
        PAGE,
        lambda acc, area: acc.compress([memoryview(area)[:PAGE], memoryview(area)[PAGE:]]),
    ),
    "header": (PACKED, 0, lambda acc, area: acc.decompress(area)),
    "header of zlib": (zlib.compress(TEXT), 0, lambda acc, area: acc.decompress(area, "zlib")),
    "trailer": (PACKED, PAGE, lambda acc, area: acc.decompress(area)),
    "header, into": (PACKED, 0, lambda acc, area: acc.decompress_into(area, bytearray(100 * PAGE))),
    "second member": (
        PACKED[:-8] + PACKED[-8:] + bytes(-len(PACKED) % PAGE) + PACKED,
        len(PACKED) + -len(PACKED) % PAGE,
        lambda acc, area: acc.decompress(area),
    ),
}

DESTINATIONS: dict[str, Use] = {
    "compress": lambda acc, area: acc.compress_into(TEXT, area),
    "compress nothing": lambda acc, area: acc.compress_into(b"", area),
    "decompress": lambda acc, area: acc.decompress_into(gzip.compress(TEXT), area),
    "from pieces": lambda acc, area: acc.compress_into([TEXT[:20_000], TEXT[20_000:]], area),
}


@pytest.mark.parametrize("residency", ["mirror", "cold", "pinned"])
@pytest.mark.parametrize("case", SOURCES)
async def test_a_source_whose_file_shrank(shrunk: Any, case: str, residency: str) -> None:
    content, left, use = SOURCES[case]
    async with open_chip(residency=residency) as acc:
        area = shrunk(content, left)
        with pytest.raises(wdasync.PageFaultError):
            await use(acc, area)
        assert gzip.decompress(await acc.compress(TEXT)) == TEXT


@pytest.mark.parametrize("residency", ["mirror", "cold", "pinned"])
@pytest.mark.parametrize("case", DESTINATIONS)
async def test_a_destination_whose_file_shrank(shrunk: Any, case: str, residency: str) -> None:
    async with open_chip(residency=residency) as acc:
        area = shrunk(bytes(50 * PAGE))
        with pytest.raises(wdasync.PageFaultError):
            await DESTINATIONS[case](acc, area)
        assert gzip.decompress(await acc.compress(TEXT)) == TEXT


async def test_the_part_of_a_file_that_is_left_is_used(shrunk: Any) -> None:
    async with open_chip() as acc:
        area = shrunk(TEXT, 2 * PAGE)
        assert gzip.decompress(await acc.compress(memoryview(area)[: 2 * PAGE])) == TEXT[: 2 * PAGE]
