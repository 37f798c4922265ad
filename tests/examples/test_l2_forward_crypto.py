"""The forwarder of frames: the kernel's rings by themselves, and the program as a user starts it."""

import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import pytest

import wdasync
from examples.l2_forward_crypto import ETHERTYPE, RINGS, Tunnel, frames
from examples.packet_rings import Port
from examples.packet_rings.netns import wire

ROOT = Path(__file__).parents[2]


def why_not() -> str:
    """Why there can be no wire here; empty if there can."""
    if missing := [name for name in ("ip", "unshare", "nsenter") if not shutil.which(name)]:
        return f"not installed: {', '.join(missing)}; apt install iproute2 util-linux"
    try:
        with wire():
            return ""
    except OSError as error:
        return str(error)


WHY_NOT = why_not()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


@pytest.fixture(params=list(RINGS))
def ports(request: pytest.FixtureRequest) -> Iterator[tuple[Port, Port]]:
    kind = RINGS[request.param]
    with wire() as ends:
        left, right = (end.run(lambda device: kind(device, ETHERTYPE)) for end in ends)
        yield left, right
        left.close()
        right.close()


def made(count: int, length: int = 60, kind: int = ETHERTYPE) -> list[bytes]:
    head = b"\x02right\x02left\x00" + kind.to_bytes(2, "big")
    return [head + number.to_bytes(4, "big") * ((length - 14) // 4) for number in range(count)]


def drain(port: Port, count: int) -> list[bytes]:
    """So many frames, or those that come within a second."""
    found: list[bytes] = []
    until = time.monotonic() + 5
    while len(found) < count and time.monotonic() < until and select.select([port], [], [], 1)[0]:
        found += port.receive_burst()
    return found


def test_frames_come_as_they_went(ports: tuple[Port, Port]) -> None:
    """In both directions, more than a ring has room for, of every length."""
    for sender, receiver in (ports, ports[::-1]):
        everything = [frame for length in range(60, 1514, 14) for frame in made(12, length)]
        rest, found = everything, []
        while rest:
            sent = sender.send_burst(rest[:100])
            rest = rest[sent:]
            found += drain(receiver, sent)
        assert found == everything
        assert receiver.dropped() == 0
        assert receiver.receive_burst() == []


def test_other_protocols_are_not_seen(ports: tuple[Port, Port]) -> None:
    left, right = ports
    mixed = [frame for pair in zip(made(20), made(20, kind=0x88B6), strict=True) for frame in pair]
    assert left.send_burst(mixed) == 40
    assert drain(right, 20) == made(20)


def test_nobody_takes_them(ports: tuple[Port, Port]) -> None:
    """The receiving ring overflows: what was dropped is counted, the rest is whole and in order."""
    left, right = ports
    sent, everything = 0, made(6000, 1500)
    while sent < len(everything):
        sent += left.send_burst(everything[sent : sent + 64])
    found = []
    while burst := drain(right, 1):
        found += burst
    assert 0 < len(found) < sent
    assert right.dropped() == sent - len(found)
    assert found == everything[: len(found)]
    assert right.dropped() == 0, "it is counted once"


def test_a_frame_that_is_too_long(ports: tuple[Port, Port]) -> None:
    with pytest.raises(ValueError, match=r"frame: expected at most \d+ bytes, got 5000"):
        ports[0].send_burst([bytes(5000)])


class Tamperer:
    """A port that changes a byte of every tenth frame."""

    def __init__(self, port: Port, place: int) -> None:
        self._port, self._place, self._count = port, place, 0

    def send_burst(self, burst: Sequence[bytes]) -> int:
        changed = []
        for frame in burst:
            self._count += 1
            if self._count % 10 == 0:
                copy = bytearray(frame)
                copy[self._place] ^= 1
                frame = bytes(copy)
            changed.append(frame)
        return self._port.send_burst(changed)

    def fileno(self) -> int:
        return self._port.fileno()


@pytest.mark.anyio
@pytest.mark.parametrize("place", [7, 30, -1], ids=["address", "ciphertext", "tag"])
async def test_a_changed_frame_is_found(ports: tuple[Port, Port], place: int) -> None:
    left, right = ports
    async with wdasync.open_accelerator() as acc:
        tunnel = Tunnel(acc, Tamperer(left, place), right)  # type: ignore[arg-type]  # it only sends
        async with anyio.create_task_group() as group:
            group.start_soon(tunnel.receive, 100)
            group.start_soon(tunnel.send, frames(100, 1), 8)
    assert (tunnel.equal, tunnel.different) == (90, 10)


@pytest.mark.parametrize("rings", RINGS)
@pytest.mark.parametrize(
    ("backend", "count", "where"), [("cpu", 2000, "cpu/"), ("hip08", 200, "hip08/hisi_sec2-0")]
)
def test_the_program(rings: str, backend: str, count: int, where: str) -> None:
    words = ["--rings", rings, "--backend", backend, "--frames", str(count)]
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-m", "examples.l2_forward_crypto", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, *places = done.stdout.splitlines()
    assert first.startswith(f"{count} frames equal, 0 different, 0 dropped; ")
    assert any(line.startswith(where) and f": {2 * count} operations" in line for line in places), places


@pytest.mark.parametrize("words", [["--frames", "0"], ["--burst", "257"], ["--burst", "0"]])
def test_bad_arguments(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.l2_forward_crypto", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "expected at least one frame, and bursts of 1 to 256" in done.stderr


def test_a_user_namespace_s_root_has_no_map_of_sockets() -> None:
    program = [sys.executable, "-m", "examples.l2_forward_crypto", "--rings", "xdp"]
    done = subprocess.run(
        ["unshare", "--map-root-user", "--net", *program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "a map of AF_XDP sockets is for root" in done.stderr
