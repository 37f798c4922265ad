"""The device of module/ and the kernel's uacce by themselves, with system calls alone: what our package is judged by."""

import errno
import faulthandler
import fcntl
import mmap
import os
import re
import select
import signal
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.guest.inside.device import Zip, insmod, rmmod, wait_for
from tests.guest.inside.raw import (
    DEPTH,
    DUS_BYTES,
    GZIP,
    MMIO_BYTES,
    PAGE,
    PUT,
    START,
    ZLIB,
    RawQueue,
    address,
    descriptor,
    first_list,
    scatter,
)

OK, BAD_DATA, BAD_DESCRIPTOR, MEMORY, EXPANDED, NO_SPACE, BAD_CHECK = 0, 1, 2, 3, 0xD, 0xE, 0x10
LAST_BLOCK = 0x100
TEXT = b"what is compressed here is text, and more text, and so it becomes shorter. " * 500
DECODERS: dict[int, Callable[[bytes], bytes]] = {
    ZLIB: lambda body: zlib.decompress(b"\x78\x9c" + body),
    GZIP: lambda body: zlib.decompress(b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + body, 31),
}
BOARD = Path("/sys/module/wdasync_board/parameters")


@pytest.fixture
def compressor(device: Zip) -> Iterator[RawQueue]:
    with RawQueue(device.node, 0) as queue:
        yield queue


@pytest.fixture
def decompressor(device: Zip) -> Iterator[RawQueue]:
    with RawQueue(device.node, 1) as queue:
        yield queue


def fails(number: int, call: Callable[[], object]) -> None:
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as told:
        call()
    assert told.value.errno == number


def encoded(unit: int, data: bytes = TEXT) -> bytes:
    """Deflate data and trailer, without the header."""
    coder = zlib.compressobj(6, zlib.DEFLATED, 15 if unit == ZLIB else 31)
    return (coder.compress(data) + coder.flush())[2 if unit == ZLIB else 10 :]


# ---- What sysfs says


def test_attributes(device: Zip) -> None:
    assert device.attribute("api") == "hisi_qm_v2\n"
    assert device.attribute("flags") == "1\n"
    assert device.attribute("algorithms").split() == ["zlib", "gzip"]
    assert device.attribute("region_mmio_size") == f"{MMIO_BYTES}\n"
    assert device.attribute("region_dus_size") == f"{DUS_BYTES}\n" == "151552\n"
    assert device.attribute("available_instances") == "64\n"
    assert device.attribute("isolate") == "0\n"
    assert device.attribute("device/numa_node") == "0\n"


# ---- Calls


def test_states(device: Zip) -> None:
    with RawQueue(device.node, start=False) as queue:
        queue.put()
        queue.start()
        fails(errno.EINVAL, queue.start)
        queue.put()
        queue.start()


def test_ioctls(device: Zip) -> None:
    with RawQueue(device.node, start=False) as queue:
        assert queue.info() == (128, DEPTH, DEPTH)
        for kind in (0, 1):
            assert queue.set_type(kind) == queue.number
        fails(errno.EINVAL, lambda: queue.set_type(2))
        fails(errno.EINVAL, lambda: fcntl.ioctl(queue.fd, 0x5799))
        fails(errno.EFAULT, lambda: fcntl.ioctl(queue.fd, 0xC010480B, 8))


def test_regions(device: Zip) -> None:
    with RawQueue(device.node) as queue:
        for offset, nbytes in ((0, MMIO_BYTES), (PAGE, DUS_BYTES)):
            fails(errno.EEXIST, lambda o=offset, n=nbytes: mmap.mmap(queue.fd, n, offset=o))
        fails(errno.EINVAL, lambda: mmap.mmap(queue.fd, PAGE, offset=2 * PAGE))
        fails(errno.EINVAL, lambda: os.read(queue.fd, 8))
    for offset, nbytes in ((0, MMIO_BYTES + PAGE), (PAGE, DUS_BYTES - PAGE), (PAGE, DUS_BYTES + PAGE)):
        fd = os.open(device.node, os.O_RDWR)
        fails(errno.EINVAL, lambda f=fd, o=offset, n=nbytes: mmap.mmap(f, n, offset=o))
        os.close(fd)


def test_a_region_cannot_be_mapped_again_after_it_was_unmapped(device: Zip) -> None:
    fd = os.open(device.node, os.O_RDWR)
    mmap.mmap(fd, DUS_BYTES, offset=PAGE).close()
    fails(errno.EEXIST, lambda: mmap.mmap(fd, DUS_BYTES, offset=PAGE))
    os.close(fd)


def test_opened_for_reading(device: Zip) -> None:
    fd = os.open(device.node, os.O_RDONLY)
    fails(errno.EACCES, lambda: mmap.mmap(fd, DUS_BYTES, offset=PAGE))
    os.close(fd)


def test_queues_are_used_up(device: Zip) -> None:
    device["limit"] = 3
    queues = [RawQueue(device.node) for _ in range(3)]
    assert device.attribute("available_instances") == "0\n"
    fails(errno.EBUSY, lambda: os.open(device.node, os.O_RDWR))
    assert len({queue.number for queue in queues}) == 3
    queues.pop().close()
    assert device.attribute("available_instances") == "1\n"
    queues.append(RawQueue(device.node))
    for queue in queues:
        queue.close()


# ---- Work


@pytest.mark.parametrize("unit", [ZLIB, GZIP])
@pytest.mark.parametrize("window", [0, 1, 2, 3, 4])
def test_compress(compressor: RawQueue, unit: int, window: int) -> None:
    data, room = bytearray(TEXT), bytearray(len(TEXT))
    entry = descriptor(address(data), len(data), address(room), len(room), unit, window=window, tag=0xBEEF)
    after = compressor.run(entry)
    produced = after[1]
    assert after[0] == len(data)
    assert after[3] == OK
    assert after[30] == len(data)
    assert after[13] == 0xBEEF
    assert produced < len(data) // 10
    assert DECODERS[unit](bytes(room[:produced])) == TEXT
    assert not any(room[produced:])
    checksum = zlib.adler32(TEXT) if unit == ZLIB else int(f"{zlib.crc32(TEXT):032b}"[::-1], 2) ^ 0xFFFFFFFF
    assert after[31] == checksum


@pytest.mark.parametrize("unit", [ZLIB, GZIP])
@pytest.mark.parametrize("nbytes", [0, 1, 65535, 65536, 65537, 300_000])
def test_decompress(decompressor: RawQueue, unit: int, nbytes: int) -> None:
    plain = (TEXT * 10)[:nbytes]
    data = bytearray(encoded(unit, plain) + b"what follows")
    room = bytearray(nbytes + 8)
    after = decompressor.run(descriptor(address(data), len(data), address(room), len(room), unit))
    assert after[3] == OK | LAST_BLOCK
    assert after[0] == len(data) - len(b"what follows")
    assert after[1] == nbytes == after[30]
    assert after[15] == 0x80
    assert bytes(room) == plain + bytes(8)


def test_input_that_is_cut_off(decompressor: RawQueue) -> None:
    data = bytearray(encoded(ZLIB)[:-5])
    room = bytearray(len(TEXT))
    after = decompressor.run(descriptor(address(data), len(data), address(room), len(room)))
    assert after[3] == OK
    assert after[0] == len(data)


def test_output_that_just_fits(decompressor: RawQueue) -> None:
    data, room = bytearray(encoded(ZLIB)), bytearray(len(TEXT) + 1)
    entry = descriptor(address(data), len(data), address(room), len(TEXT))
    assert decompressor.run(entry)[3] == OK | LAST_BLOCK
    entry = descriptor(address(data), len(data), address(room), len(TEXT) - 1)
    assert decompressor.run(entry)[:4] == [0, 0, 0, NO_SPACE]


def test_output_that_does_not_fit(compressor: RawQueue) -> None:
    data, room = bytearray(os.urandom(1000)), bytearray(1100)
    after = compressor.run(descriptor(address(data), len(data), address(room), 500))
    assert after[3] == NO_SPACE
    assert not any(room[500:])
    after = compressor.run(descriptor(address(data), len(data), address(room), len(room)))
    assert after[3] == EXPANDED
    assert DECODERS[ZLIB](bytes(room[: after[1]])) == bytes(data)


@pytest.mark.parametrize("unit", [ZLIB, GZIP])
def test_wrong_input(decompressor: RawQueue, unit: int) -> None:
    room = bytearray(len(TEXT))
    data = bytearray(encoded(unit))
    data[-1] ^= 1
    assert (
        decompressor.run(descriptor(address(data), len(data), address(room), len(room), unit))[3] == BAD_CHECK
    )
    data[0] = 0xFF
    assert (
        decompressor.run(descriptor(address(data), len(data), address(room), len(room), unit))[3] == BAD_DATA
    )


def test_scatter_lists(compressor: RawQueue) -> None:
    data, room = bytearray(TEXT), bytearray(len(TEXT))
    source, keep = scatter(
        [(address(data), 1000), (address(data) + 1000, 0)], [], [(address(data) + 1000, len(TEXT) - 1000)]
    )
    pieces = [(address(room) + at, 200) for at in range(0, len(room) - 200, 200)]
    destination, keep_too = scatter(pieces)
    entry = descriptor(
        first_list(source), len(TEXT) - 7, first_list(destination), len(room), scattered=True, skip=(7, 50)
    )
    after = compressor.run(entry)
    assert after[3] == OK
    assert DECODERS[ZLIB](bytes(room[50 : 50 + after[1]])) == TEXT[7:]
    del keep, keep_too


def test_bad_descriptors(compressor: RawQueue) -> None:
    data, room = bytearray(TEXT), bytearray(len(TEXT))
    good = address(data), len(data), address(room), len(room)
    short, _keep = scatter([(address(data), 10)])
    bad = (
        descriptor(*good, unit=1),
        descriptor(*good, window=5),
        descriptor(*good, control=1 << 26),
        descriptor(*good, control=1 << 28),
        descriptor(address(data), (8 << 20) + 1, *good[2:]),
        descriptor(first_list(short), 11, first_list(short), 10, scattered=True),
    )
    for entry in bad:
        assert compressor.run(entry)[:4] == [0, 0, 0, BAD_DESCRIPTOR]
    assert compressor.run(descriptor(*good))[3] == OK


def test_bad_addresses(compressor: RawQueue, device: Zip) -> None:
    data, room = bytearray(TEXT), bytearray(len(TEXT))
    source, target = address(data), address(room)
    sealed = mmap.mmap(-1, PAGE * 16)
    where = address(sealed)
    with mmap.mmap(-1, PAGE * 4) as closed:
        gone = address(closed)  # the mapping goes away here
    before = device["memory_errors"]
    wild = (8, gone, 1 << 47, 0xFFFF_8000_0000_0000, (1 << 64) - 1)
    for at in wild:
        assert compressor.run(descriptor(at, len(data), target, len(room)))[3] == MEMORY
        assert compressor.run(descriptor(source, len(data), at, len(room)))[3] == MEMORY
        assert compressor.run(descriptor(at, len(data), target, len(room), scattered=True))[3] == MEMORY
    assert device["memory_errors"] == before + 3 * len(wild)
    # Memory that has no pages yet is there all the same, as source and as destination.
    assert compressor.run(descriptor(where, PAGE * 8, where + PAGE * 8, PAGE * 8))[3] == OK


def test_memory_that_is_read_only(compressor: RawQueue, tmp_path: Path) -> None:
    data = bytearray(TEXT)
    file = tmp_path / "read-only"
    file.write_bytes(bytes(PAGE * 2))
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ):
        [line] = [
            line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(file))
        ]
        where = int(line.partition("-")[0], 16)
        assert compressor.run(descriptor(address(data), len(data), where, PAGE * 2))[3] == MEMORY
        assert compressor.run(descriptor(where, PAGE * 2, address(data), len(data)))[3] == OK
        os.truncate(file, 0)
        assert compressor.run(descriptor(where, PAGE * 2, address(data), len(data)))[3] == MEMORY


def test_laps(compressor: RawQueue, device: Zip) -> None:
    data, room = bytearray(b"lap " * 8), bytearray(100)
    entry = descriptor(address(data), len(data), address(room), len(room))
    slots = []
    while len(slots) < 3 * DEPTH + 10:
        compressor.submit(*[entry] * 341)
        slots += [slot for slot, after in compressor.wait(341) if after[3] == OK]
    assert slots == [number % DEPTH for number in range(len(slots))]
    [queue] = device.queues()
    assert queue["sq_head"] == queue["sq_tail"] == queue["cq_head"] == queue["cq_tail"] == compressor.tail


def test_a_full_ring(compressor: RawQueue, device: Zip) -> None:
    data, room = bytearray(b"full"), bytearray(100)
    entry = descriptor(address(data), len(data), address(room), len(room))
    compressor.submit(*[entry] * (DEPTH - 1))
    assert len(compressor.wait(DEPTH - 1)) == DEPTH - 1
    assert device["overflows"] == 0


# ---- Doorbells


def test_each_doorbell_arrives(compressor: RawQueue, device: Zip) -> None:
    before, bad = device["doorbells"], device["bad_doorbells"]
    for index in range(500):
        compressor.ring(1, index % DEPTH)
    assert device["doorbells"] == before + 500
    compressor.ring(1, DEPTH)  # an index that is none
    compressor.ring(2, 0)  # a ring that is not the user's
    compressor._doorbell.value = 63  # a queue that is not started
    compressor.mmio[0x1004] = 1  # no 64 bits
    assert device["bad_doorbells"] == bad + 4
    assert device["doorbells"] == before + 500
    assert compressor.mmio[0x1000:0x1008] == bytes(8)


# ---- Readiness


def completed(queue: RawQueue, device: Zip) -> None:
    """One completion, which nobody has looked at."""
    data, room = bytearray(b"ready " * 30), bytearray(100)
    before = device["completed"]
    queue.submit(descriptor(address(data), len(data), address(room), len(room)))
    wait_for(lambda: device["completed"] > before)


def test_poll_eats_what_it_tells(compressor: RawQueue, device: Zip) -> None:
    assert compressor.poll() == 0
    completed(compressor, device)
    completed(compressor, device)
    assert compressor.poll() == select.POLLIN
    assert compressor.poll() == 0
    assert len(compressor.reap()) == 2
    completed(compressor, device)
    assert compressor.poll() == select.POLLIN


def laps(queue: RawQueue, count: int) -> None:
    """So many completions for which nobody polls."""
    entry = entry_for(data := bytearray(b"lap " * 8), room := bytearray(100))
    for _ in range(count // 100):
        queue.submit(*[entry] * 100)
        queue.wait(100)
    del data, room


@pytest.mark.parametrize(("count", "told"), [(900, select.POLLIN), (1500, 0), (2500, select.POLLIN)])
def test_poll_knows_a_completion_by_its_phase_alone(
    compressor: RawQueue, device: Zip, count: int, told: int
) -> None:
    """Its reader goes on only here. In the second lap without it the ring has the phase of what it knows already."""
    laps(compressor, count)
    completed(compressor, device)
    assert compressor.poll() == told
    compressor.reap()


def test_adding_to_epoll_eats_too(compressor: RawQueue, device: Zip) -> None:
    completed(compressor, device)
    with select.epoll() as epoll:
        epoll.register(compressor.fd, select.EPOLLIN)
        # ADD looked, and put it on the ready list; the wait looks again, and there is nothing any more.
        assert epoll.poll(0.05) == []
        completed(compressor, device)
        compressor.reap()


def test_who_sleeps_is_woken_if_an_interrupt_was_asked_for(compressor: RawQueue, device: Zip) -> None:
    completed(compressor, device)  # The first completion has its interrupt without asking.
    compressor.reap()
    assert compressor.poll() == select.POLLIN
    device["delay_us"] = 200_000
    data, room = bytearray(b"sleep " * 30), bytearray(100)
    entry = descriptor(address(data), len(data), address(room), len(room))
    wakes = device["wakes"]
    compressor.submit(entry)
    assert compressor.poll(600) == select.POLLIN  # At its end poll() looks once more.
    assert device["wakes"] == wakes
    compressor.reap()
    compressor.arm()
    compressor.submit(entry)
    assert compressor.poll(20_000) == select.POLLIN
    assert device["wakes"] == wakes + 1


# ---- Address spaces


def in_a_child(work: Callable[[], None]) -> int:
    """Exit status of a forked child, as waitpid tells it."""
    pid = os.fork()
    if not pid:
        faulthandler.disable()
        try:
            work()
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def test_one_process_has_one_pasid(devices: tuple[Zip, Zip], device: Zip) -> None:
    with RawQueue(device.node), RawQueue(device.node), RawQueue(devices[1].node):
        pasids = {queue["pasid"] for each in devices for queue in each.queues()}
    assert len(pasids) == 1
    assert pasids.pop() > 0


def test_a_child_has_another_pasid(device: Zip) -> None:
    def child() -> None:
        with RawQueue(device.node) as mine:
            rows = device.queues()
            [pasid] = [row["pasid"] for row in rows if row["number"] == mine.number]
            [parents] = [row["pasid"] for row in rows if row["number"] != mine.number]
            data, room = bytearray(TEXT), bytearray(len(TEXT))
            after = mine.run(descriptor(address(data), len(data), address(room), len(room)))
            os._exit(0 if pasid != parents and after[3] == OK else 2)

    with RawQueue(device.node):
        assert in_a_child(child) == 0


def test_a_child_has_no_mappings(compressor: RawQueue) -> None:
    assert os.WTERMSIG(in_a_child(lambda: compressor.ring(1, 0))) == signal.SIGSEGV
    assert os.WTERMSIG(in_a_child(lambda: compressor.reap() and None)) == signal.SIGSEGV


@pytest.mark.parametrize("number", [errno.ENODEV, errno.EOPNOTSUPP])
def test_shared_addresses_are_refused(device: Zip, number: int) -> None:
    (BOARD / "refuse_bind").write_text(str(number))
    try:
        assert device.attribute("flags") == "1\n"  # which is no proof
        fails(number, lambda: os.open(device.node, os.O_RDWR))
    finally:
        (BOARD / "refuse_bind").write_text("0")


# ---- Things that go wrong


def entry_for(data: bytearray, room: bytearray) -> bytes:
    return descriptor(address(data), len(data), address(room), len(room))


def test_completions_lost_and_doubled(compressor: RawQueue, device: Zip) -> None:
    entry = entry_for(data := bytearray(b"fault " * 30), room := bytearray(100))
    device["drop"] = 1
    compressor.submit(entry, entry)
    assert [slot for slot, _ in compressor.wait(1)] == [1]
    device["duplicate"] = 1
    compressor.submit(entry, entry)
    assert [slot for slot, _ in compressor.wait(3)] == [2, 2, 3]
    device.fail(0x42, 1)
    compressor.submit(entry, entry)
    assert [after[3] for _, after in compressor.wait(2)] == [0x42, OK]
    del data, room


def test_wakes_lost_and_false(compressor: RawQueue, device: Zip) -> None:
    entry = entry_for(data := bytearray(b"fault " * 30), room := bytearray(100))
    device["delay_us"] = 50_000
    device["lose_wake"] = 1
    wakes = device["wakes"]
    compressor.submit(entry)
    compressor.wait(1)
    assert device["wakes"] == wakes
    compressor.poll()
    device["wake"] = 1
    assert device["wakes"] == wakes + 1
    assert compressor.poll() == 0
    del data, room


@pytest.mark.parametrize("what", ["reset", "isolate"])
def test_reset_and_isolation(device: Zip, what: str) -> None:
    data, room = bytearray(b"fault " * 30), bytearray(100)
    with RawQueue(device.node) as queue:
        device["delay_us"] = 100_000
        queue.submit(entry_for(data, room))
        assert queue.status_words() == (0, 0)
        device[what] = 300 if what == "reset" else 1
        assert queue.status_words() == (1, 1)
        assert queue.reap() == []
        fails(errno.EPERM, lambda: os.open(device.node, os.O_RDWR))
        assert device.attribute("isolate") == ("1\n" if what == "isolate" else "0\n")
    device["delay_us"] = 0
    if what == "isolate":
        device["isolate"] = 0
    else:
        wait_for(device.opens)
    with RawQueue(device.node) as queue:
        assert queue.status_words() == (0, 0)
        assert queue.run(entry_for(data, room))[3] == OK


def test_put_finishes_what_was_submitted(compressor: RawQueue, device: Zip) -> None:
    entry = entry_for(data := bytearray(b"drain " * 30), room := bytearray(100))
    device["delay_us"] = 5_000
    compressor.submit(entry, entry, entry)
    compressor.put()
    compressor.mmio[0]  # still mapped
    before = device["bad_doorbells"]
    assert len(compressor.reap()) == 3
    assert device["bad_doorbells"] == before + 1  # it does not listen any more
    del data, room


def test_a_device_that_goes_away(device: Zip) -> None:
    queue = RawQueue(device.node)
    entry = entry_for(data := bytearray(b"gone " * 30), room := bytearray(100))
    device["delay_us"] = 100_000
    queue.submit(entry, entry, entry)
    device.unbind()
    assert not device.node.exists()
    for call in (START, PUT, 0xC010480B):
        fails(errno.ENXIO, lambda c=call: fcntl.ioctl(queue.fd, c))
    assert queue.poll(50) == 0
    device.bind()
    with RawQueue(device.node) as again:
        assert again.run(entry)[3] == OK
    fails(errno.ENXIO, queue.put)
    queue.close()
    del data, room


TOUCHES: dict[str, Callable[[RawQueue], object]] = {
    "doorbell": lambda queue: queue.ring(0, 0),
    "read of the MMIO region": lambda queue: queue.mmio[0],
    "read of a ring": lambda queue: queue.dus[0],
    "write of a ring": lambda queue: queue.dus.__setitem__(0, 1),
}


@pytest.mark.parametrize("what", TOUCHES)
def test_touching_what_went_away(device: Zip, what: str) -> None:
    def child() -> None:
        queue = RawQueue(device.node)
        device.unbind()
        TOUCHES[what](queue)

    assert os.WTERMSIG(in_a_child(child)) == signal.SIGBUS
    device.bind()


def test_the_core_stays_while_it_is_used(device: Zip) -> None:
    with RawQueue(device.node):
        device.unbind()  # of its providers it does not know
        fails(errno.EAGAIN, lambda: rmmod("uacce"))


# ---- Modules


def test_without_shared_addresses(devices: tuple[Zip, Zip]) -> None:
    """uacce of this kernel has two kinds of regions: there is no reserved one, so nothing can be given to the device."""
    rmmod("wdasync_zip")
    insmod("wdasync_zip", "sva=0")
    try:
        far = Zip(0)
        assert far.attribute("flags") == "0\n"
        with RawQueue(far.node) as queue:
            assert far.queues()[0]["pasid"] == 0
            fails(errno.EINVAL, lambda: mmap.mmap(queue.fd, PAGE, offset=2 * PAGE))
            data, room = bytearray(b"far " * 30), bytearray(100)
            assert queue.run(entry_for(data, room))[3] == MEMORY
    finally:
        rmmod("wdasync_zip")
        insmod("wdasync_zip", "devices=2")


def test_a_driver_that_is_refused_shared_addresses(devices: tuple[Zip, Zip]) -> None:
    rmmod("wdasync_zip")
    (BOARD / "refuse_feature").write_text(str(errno.ENODEV))
    try:
        insmod("wdasync_zip", "devices=2")
        assert Zip(0).attribute("flags") == "0\n"
    finally:
        (BOARD / "refuse_feature").write_text("0")
        rmmod("wdasync_zip")
        insmod("wdasync_zip", "devices=2")
