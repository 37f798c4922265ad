"""Room for outputs: used again, given back, and cut to length without a copy where a copy would be long."""

import sys

import pytest

from wdasync_uacce import ProcessSpace
from wdasync_uacce.memory import address_of
from wdasync_uacce.outputs import MAX_COPY, OutputPool

from .stand_in import Space

SIZES = [1, 1024, 1025, MAX_COPY, MAX_COPY + 1, 1 << 20]


@pytest.fixture
def pool() -> OutputPool:
    return OutputPool(ProcessSpace())


@pytest.mark.parametrize("nbytes", SIZES)
@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_what_was_written_is_what_is_taken(pool: OutputPool, nbytes: int, part: float) -> None:
    for seed in (b"\x5a", b"\xa5"):
        output = pool.room(nbytes)
        assert len(output.view) >= nbytes
        output.view[:nbytes] = seed * nbytes
        length = int(nbytes * part)
        data = output.take(length)
        assert type(data) is bytes
        assert data == seed * length
        assert hash(data) == hash(seed * length)


def test_a_long_output_is_not_copied(pool: OutputPool) -> None:
    output = pool.room(MAX_COPY + 1)
    address = address_of(output.view)
    data = output.take(MAX_COPY + 1)
    assert address_of(data) == address
    assert sys.getrefcount(data) == 2


def test_rooms_are_used_again(pool: OutputPool) -> None:
    first = pool.room(5000)
    address = address_of(first.view)
    second = pool.room(5000)
    assert address_of(second.view) != address
    first.take(10)
    assert address_of(pool.room(8000).view) == address


def test_a_room_is_given_back_once(pool: OutputPool) -> None:
    output = pool.room(5000)
    output.take(1)
    output.drop()
    output.drop()
    assert address_of(pool.room(5000).view) != address_of(pool.room(5000).view)


def test_the_pool_does_not_keep_everything(pool: OutputPool) -> None:
    rooms = [pool.room(MAX_COPY) for _ in range(64)]
    for room in rooms:
        room.drop()
    kept = pool._free[MAX_COPY]
    assert 0 < len(kept) * MAX_COPY <= 2 << 20


@pytest.mark.parametrize("nbytes", [4096, MAX_COPY + 1])
def test_a_dropped_room_is_gone(pool: OutputPool, nbytes: int) -> None:
    output = pool.room(nbytes)
    output.drop()
    output.drop()
    assert len(output.view) == 0


def test_without_shared_addresses_room_comes_from_the_reserved_region() -> None:
    space = Space(sva=False, reserved=10_000)
    output = OutputPool(space).room(5000)
    assert space.reserved == 10_000 - 8192
    output.view[:3] = b"abc"
    assert output.take(3) == b"abc"
    del output
    assert space.reserved == 10_000
    with pytest.raises(OSError, match="reserved region is used up"):
        OutputPool(space).room(20_000)
