"""Any bytes as what the emulated chip fetches: a descriptor, scatter lists, data. For chance, and for atheris.

A case is a good descriptor with some bits turned over, and memory likewise, so that most of it means something.
"""

from __future__ import annotations

import random
import re
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.cpu.support import CHECKOUT
from tests.fuzz.decoders import read_corpus, write_corpus
from tests.hip08.conftest import LoneMachine, RawDriver
from tests.hip08.fuzz import BYSTANDER, VA, Bench
from wdasync_hip08.functions import ZIP
from wdasync_hip08.memory import PAGE
from wdasync_hip08.options import Options

CORPUS = Path(__file__).with_name("corpus") / "chip.txt"

#: Cases for one machine, and for one look at whether its other user is well.
TURN, LOOK = 2000, 100

HEAD, ENTRY, LARGEST, KEPT = 4, 128, 1024, 400

#: Two scatter lists, the second in the next page: (next, entries of the chain, of this one, room), then address and length.
LISTS = (
    struct.pack("<QHHH50x", VA + PAGE, 3, 2, 2) + struct.pack("<QQIIQ", VA + 3 * PAGE, 0, 100, 0, 0) * 2,
    struct.pack("<QHHH50x", 0, 3, 1, 2) + struct.pack("<QQIIQ", VA + 5 * PAGE - 50, 0, 100, 0, 0),
)


def turned(good: bytes, patch: bytes) -> bytes:
    """``good`` with the bits of ``patch`` turned over, and what ``patch`` has beyond it."""
    size = max(len(good), len(patch))
    one, other = good.ljust(size, b"\0"), patch.ljust(size, b"\0")
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


class Target:
    """A machine, and the queues that are fed with cases."""

    def __init__(self) -> None:
        self.cases = 0
        self.statuses: dict[int, int] = {}
        self._bench: Bench | None = None

    def _fresh(self) -> None:
        self.close()
        machine = LoneMachine(Options(clock="virtual", depth=64, ram=32))
        self._bench = Bench(machine, RawDriver)
        self._drivers = (
            self._bench.driver, RawDriver(machine, queue_type=1, space=self._bench.space),
        )  # fmt: skip

    def close(self) -> None:
        if self._bench is not None:
            self._bench.unharmed()
            self._bench.machine.close()
            self._bench = None

    def run(self, data: bytes) -> int | None:
        """One case; the status that the chip gave. ``None``: it is no case."""
        if len(data) < HEAD:
            return None
        if self.cases % TURN == 0:
            self._fresh()
        self.cases += 1
        bench = self._bench
        assert bench is not None
        driver = self._drivers[data[0] & 1]
        scattered = data[0] & 2
        patch, memory = data[HEAD : HEAD + ENTRY], data[HEAD + ENTRY :]
        if scattered:
            bench.memory.poke(0, turned(LISTS[0], memory[: len(LISTS[0])]))
            bench.memory.poke(PAGE, turned(LISTS[1], memory[len(LISTS[0]) :])[:PAGE])
        else:
            bench.memory.poke(0, memory.ljust(64, b"\0"))
        good = driver.entry(
            VA, min(len(memory), 300), VA if scattered else VA + 4 * PAGE, 300 + data[1] * 8,
            fmt=2 + (data[2] & 1), dw9=(2 + (data[2] & 1)) | (0x100 if scattered else 0) | 4 << 12, tag=data[3],
        )  # fmt: skip
        entry = turned(good, patch)
        found = driver.run(entry)
        assert len(found) == 1, f"{len(found)} completions of one entry"
        assert found[0][13] == int.from_bytes(entry[52:56], "little"), "another entry was completed"
        assert bench.machine.lost(ZIP.name) is None
        assert not bench.machine.faults.pending
        if self.cases % LOOK == 0:
            bench.unharmed()
        assert bench.victim_memory.peek(0, 64) == BYSTANDER[:64]
        status = found[0][3] & 0xFF
        self.statuses[status] = self.statuses.get(status, 0) + 1
        return status


def seeds() -> list[bytes]:
    """Good descriptors of each kind, and data that can be decompressed."""
    import zlib

    text = b"what a descriptor points at. " * 8
    raw = zlib.compressobj(9, zlib.DEFLATED, -12)
    packed = raw.compress(text) + raw.flush()
    cases = [bytes([kind, size, fmt, 7]) + bytes(ENTRY) + memory
             for kind in range(4) for size in (0, 30) for fmt in (0, 1) for memory in (b"", text, packed)]  # fmt: skip
    for word, bit in (
        (9, 0),
        (9, 8),
        (9, 12),
        (7, 0),
        (7, 28),
        (7, 25),
        (8, 0),
        (4, 16),
        (14, 16),
        (19, 0),
        (23, 3),
    ):
        patch = bytearray(ENTRY)
        patch[4 * word + bit // 8] ^= 1 << bit % 8
        cases += [bytes([kind, 30, 1, 7]) + bytes(patch) + packed for kind in range(4)]
    return cases


def changed(chance: random.Random, corpus: list[bytes]) -> bytes:
    """A case of the corpus, changed here and there."""
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.randrange(5)):
        at = chance.randrange(len(data))
        match chance.randrange(5):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at] = chance.getrandbits(8)
            case 2:
                word = min(at, len(data) - 4) & ~3
                data[word : word + 4] = chance.choice(
                    (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, PAGE, PAGE - 1)
                ).to_bytes(4, "little")
            case 3:
                other = chance.choice(corpus)
                data[at:] = other[at:]
            case _:
                data += chance.randbytes(chance.randrange(40))
        data = data[:LARGEST] or bytearray(HEAD)
    return bytes(data)


def blind(count: int, seed: int) -> str:
    """The corpus, and what chance makes of it: ``count`` cases. What came of them."""
    corpus, chance, target = read_corpus(CORPUS), random.Random(seed), Target()
    began = time.perf_counter()
    for number in range(count):
        target.run(corpus[number] if number < len(corpus) else changed(chance, corpus))
    target.close()
    seconds = time.perf_counter() - began
    return f"{target.cases} cases, {len(corpus)} of the corpus, {seconds:.0f} s, statuses {dict(sorted(target.statuses.items()))}"


#: Runs with everything of the chip instrumented, which has to be said before it is imported.
GUIDED = """
import sys
import atheris

with atheris.instrument_imports(include=["wdasync_hip08"]):
    from tests.fuzz.chip import Target

target = Target()
atheris.Setup(sys.argv, lambda data: target.run(data) and None)
atheris.Fuzz()
"""


def guided(count: int, seed: int) -> str:
    """``count`` cases, which atheris leads to where no case has been; new ones are kept. What it said at the end."""
    with tempfile.TemporaryDirectory(prefix="wdasync-fuzz-") as folder:
        corpus, found = Path(folder, "corpus"), Path(folder, "found")
        corpus.mkdir()
        found.mkdir()
        for number, case in enumerate([*read_corpus(CORPUS), *seeds()]):
            (corpus / str(number)).write_bytes(case)
        options = [
            f"-runs={count}",
            f"-seed={seed}",
            f"-max_len={LARGEST}",
            "-print_final_stats=1",
            "-timeout=60",
        ]
        done = subprocess.run(
            [sys.executable, "-c", GUIDED, *options, str(found), str(corpus)],
            cwd=CHECKOUT, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
        new = sorted((path.read_bytes() for path in found.iterdir()), key=len)
    kept = {*read_corpus(CORPUS), *new[: max(KEPT - len(read_corpus(CORPUS)), 0)]}
    write_corpus(CORPUS, kept)
    covered = re.findall(r"cov: (\d+) ft: (\d+)", done.stderr)
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert executed is not None, done.stderr[-2000:]
    return f"{executed[1]} cases, {covered[0][0]} → {covered[-1][0]} edges; {len(kept)} cases kept"
