"""The reserved region: pieces that do not overlap, where the device sees them, and back when nobody refers to them."""

import errno
import gc
import mmap
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wdasync_uacce import ReservedSpace, Slice, read_slices
from wdasync_uacce.memory import address_of
from wdasync_uacce.reserved import SLICE_UNIT

UNIT = SLICE_UNIT
FIRST = 0x12_3456_7000


def region(nbytes: int = UNIT) -> memoryview:
    return memoryview(mmap.mmap(-1, nbytes))


@pytest.fixture
def space() -> ReservedSpace:
    return ReservedSpace(region(), [Slice(FIRST, UNIT)])


class TestSlices:
    def test_a_word_is_an_address_and_a_length(self) -> None:
        assert Slice.decode(0x12_3456_7003) == (0x12_3456_7000, 3 * 65536)
        assert Slice(0x12_3456_7000, 3 * 65536).encode() == 0x12_3456_7003
        assert Slice.decode(Slice(1 << 47, 4095 * UNIT).encode()) == (1 << 47, 4095 * UNIT)

    @pytest.mark.parametrize(
        "wrong", [Slice(0x800, UNIT), Slice(0, 0), Slice(0, 4096), Slice(0, 4096 * UNIT)], ids=str
    )
    def test_what_no_word_can_say(self, wrong: Slice) -> None:
        with pytest.raises(
            ValueError, match=r"expected an address aligned to 4 KiB and 1 to 4095 times 64 KiB"
        ):
            wrong.encode()

    def test_all_are_asked_for_in_turn(self) -> None:
        words = [Slice(FIRST, UNIT).encode(), Slice(0x7000_0000, 2 * UNIT).encode()]
        asked: list[int] = []

        def ask(number: int) -> tuple[int, bool]:
            asked.append(number)
            return words[number], number == 0

        assert read_slices(ask) == (Slice(FIRST, UNIT), Slice(0x7000_0000, 2 * UNIT))
        assert asked == [0, 1]

    def test_an_error_of_the_kernel_is_passed_on(self) -> None:
        def ask(number: int) -> tuple[int, bool]:
            raise OSError(errno.EINVAL, f"no slice {number}")

        with pytest.raises(OSError, match="no slice 0"):
            read_slices(ask)

    def test_an_empty_slice_would_be_asked_for_for_ever(self) -> None:
        with pytest.raises(OSError, match="expected slice 0 to have bytes"):
            read_slices(lambda number: (FIRST, True))

    @pytest.mark.parametrize("nbytes", [0, 2 * UNIT])
    def test_slices_cover_the_region(self, nbytes: int) -> None:
        memory = region(nbytes) if nbytes else memoryview(bytearray())
        with pytest.raises(ValueError, match=f"expected slices for its {nbytes} bytes, got 65536 bytes in 1"):
            ReservedSpace(memory, [Slice(FIRST, UNIT)])


class TestMemory:
    def test_it_is_aligned_and_seen_by_the_device(self, space: ReservedSpace) -> None:
        assert not space.direct
        first, second = space.allocate(100), space.allocate(1)
        assert first is not None
        assert second is not None
        assert (len(first), len(second), first.readonly) == (100, 1, False)
        assert space.grant(first, True) == FIRST
        assert space.grant(second, False) == FIRST + 128
        assert space.grant(first[10:20], False) == FIRST + 10
        assert address_of(second) - address_of(first) == 128
        space.revoke(FIRST, 100, True)

    def test_no_more_than_there_is(self, space: ReservedSpace) -> None:
        whole = space.allocate(UNIT)
        with pytest.raises(OSError, match="expected 64 bytes in a row, got 0 in all") as caught:
            space.allocate(1)
        assert caught.value.errno == errno.ENOMEM
        del whole
        assert space.allocate(UNIT) is not None

    @pytest.mark.parametrize("nbytes", [0, -1])
    def test_nothing_is_no_memory(self, space: ReservedSpace, nbytes: int) -> None:
        with pytest.raises(ValueError, match="expected at least 1 byte"):
            space.allocate(nbytes)

    def test_a_part_of_a_view_keeps_all_of_it(self, space: ReservedSpace) -> None:
        view = space.allocate(1000)
        assert view is not None
        part = view[500:501]
        del view
        gc.collect()
        assert space.available == UNIT - 1024
        del part
        assert space.available == UNIT

    def test_the_last_reference_may_go_in_another_thread(self, space: ReservedSpace) -> None:
        held = [space.allocate(1000)]
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
        assert space.available == UNIT

    def test_views_outlive_the_space(self) -> None:
        space = ReservedSpace(region(), [Slice(FIRST, UNIT)])
        view = space.allocate(64)
        assert view is not None
        del space
        gc.collect()
        view[:] = b"x" * 64
        assert bytes(view) == b"x" * 64

    def test_what_is_not_in_the_region_has_no_address(self, space: ReservedSpace) -> None:
        held = space.allocate(64)
        assert held is not None
        for buffer in (bytearray(10), b"elsewhere"):
            with pytest.raises(OSError, match="within one slice of the reserved region") as caught:
                space.grant(buffer, False)
            assert caught.value.errno == errno.EFAULT

    def test_the_host_copies_as_ever(self, space: ReservedSpace) -> None:
        target = bytearray(3)
        assert space.peek([b"ab", b"c"]) == b"abc"
        assert space.poke(memoryview(target), b"xyz") == 3
        assert target == b"xyz"


class TestSeveralSlices:
    def test_nothing_lies_across_a_gap(self) -> None:
        memory = region(2 * UNIT)
        space = ReservedSpace(memory, [Slice(FIRST, UNIT), Slice(0x9000_0000, UNIT)])
        first, second = space.allocate(UNIT - 64), space.allocate(128)
        assert first is not None
        assert second is not None
        assert space.grant(first, True) == FIRST
        assert space.grant(second, True) == 0x9000_0000
        assert space.available == UNIT - 64
        with pytest.raises(OSError, match="within one slice"):
            space.grant(memory[UNIT - 10 : UNIT + 10], False)
        with pytest.raises(OSError, match="used up"):
            space.allocate(UNIT)
        del first, second
        with pytest.raises(OSError, match="used up"):  # Pieces on both sides of the gap are not one.
            space.allocate(UNIT + 64)
        held = [space.allocate(UNIT), space.allocate(UNIT)]
        assert space.available == 0
        del held

    def test_slices_that_follow_one_another_are_one(self) -> None:
        pieces = [Slice(FIRST, UNIT), Slice(FIRST + UNIT, UNIT), Slice(0x9000_0000, UNIT)]
        space = ReservedSpace(region(3 * UNIT), pieces)
        across = space.allocate(2 * UNIT)
        assert across is not None
        assert space.grant(across, True) == FIRST
        last = space.allocate(10)
        assert last is not None
        assert space.grant(last, True) == 0x9000_0000

    def test_a_region_may_end_within_a_slice(self) -> None:
        space = ReservedSpace(region(UNIT + 4096), [Slice(FIRST, UNIT), Slice(0x9000_0000, UNIT)])
        assert space.available == UNIT + 4096
        space = ReservedSpace(region(4096), [Slice(FIRST, UNIT), Slice(0x9000_0000, UNIT)])
        assert space.available == 4096


@st.composite
def layouts(draw: st.DrawFn) -> list[int]:
    """Where slices lie: some behind one another, some not."""
    return draw(st.lists(st.sampled_from([0, 1]), min_size=1, max_size=4))


@settings(max_examples=60, deadline=None)
@given(
    gaps=layouts(),
    sizes=st.lists(st.integers(1, 40_000), max_size=60),
    seed=st.randoms(use_true_random=False),
)
def test_pieces_never_overlap_and_all_comes_back(gaps: list[int], sizes: list[int], seed: object) -> None:
    slices, address = [], FIRST
    for gap in gaps:
        address += gap * 0x100_0000
        slices.append(Slice(address, UNIT))
        address += UNIT
    space = ReservedSpace(region(len(gaps) * UNIT), slices)
    device = {at for piece in slices for at in range(piece.address, piece.address + piece.nbytes, 64)}
    held: list[tuple[memoryview, range]] = []
    for size in sizes:
        try:
            view = space.allocate(size)
        except OSError:
            if held:
                held.pop(seed.randrange(len(held)))  # type: ignore[attr-defined]  # a Random of hypothesis's
            continue
        assert view is not None
        at = space.grant(view, True)
        place = range(at, at + -(-size // 64) * 64, 64)
        assert device.issuperset(place)
        assert not any(_meet(place, other) for _, other in held)
        held.append((view, place))
        del view
    held.clear()
    assert space.available == len(gaps) * UNIT
    assert len(space._free) == 1 + sum(gaps[1:])


def _meet(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop


@pytest.fixture(autouse=True)
def _everything_is_collected() -> Iterator[None]:
    yield
    gc.collect()
