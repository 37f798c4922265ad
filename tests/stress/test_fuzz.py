"""10⁶ cases for each decoder path and for the emulated chip's descriptors, guided by coverage; what is new in a corpus is kept.

The C decoders by libFuzzer, where clang has it; the chip, which is Python, by atheris, where it is installed. Without them the
ordinary tests' blind changes of the kept corpus are made 10⁶ times.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.cpu.sanitizers import COMPILER, has_sanitizer
from tests.fuzz import chip
from tests.fuzz.decoders import CORPUS, LARGEST, SANITIZERS, build, fuzz, read_corpus, seeds, write_corpus

from .conftest import Teller

COUNT = int(os.environ.get("STRESS_CASES", "1000000"))
SEED = int(os.environ.get("STRESS_SEED", "1"))

CLANG = next((path for name in ("clang", "clang-19", "clang-14") if (path := shutil.which(name))), None)


def merged(program: Path, folder: Path, found: Path) -> None:
    """What the kept corpus lacks is put into it, as few and as small cases as have the coverage. What it has stays: good units
    have smaller ones beside them that are wrong in the end, and cover as much.
    """
    kept = folder / "kept"
    kept.mkdir()
    for number, case in enumerate(read_corpus(CORPUS)):
        (kept / str(number)).write_bytes(case)
    fuzz(program, "-merge=1", f"-max_len={LARGEST}", str(kept), str(folder / "corpus"), str(found))
    write_corpus(CORPUS, {path.read_bytes() for path in kept.iterdir()})


def test_decoders_guided(tmp_path: Path, tell: Teller) -> None:
    if CLANG is None:
        pytest.skip("there is no clang: apt install clang")
    program = build(tmp_path, [CLANG], SANITIZERS.replace("=", "=fuzzer,"))
    corpus, found = tmp_path / "corpus", tmp_path / "found"
    found.mkdir()
    corpus.mkdir()
    for number, case in enumerate([*read_corpus(CORPUS), *seeds()]):
        (corpus / str(number)).write_bytes(case)
    said = fuzz(
        program, f"-runs={COUNT}", f"-seed={SEED}", f"-max_len={LARGEST}", "-print_final_stats=1", str(found), str(corpus)
    )  # fmt: skip
    executed = re.search(r"number_of_executed_units: (\d+)", said)
    covered = re.findall(r"cov: (\d+) ft: (\d+)", said)
    assert executed is not None
    assert int(executed[1]) >= COUNT
    merged(program, tmp_path, found)
    tell(
        "fuzzing, C decoders, guided by coverage",
        f"{executed[1]} cases, {covered[0][0]} → {covered[-1][0]} edges; {len(read_corpus(CORPUS))} cases kept; nothing found",
        SEED,
    )


def test_decoders_blind(tmp_path: Path, tell: Teller) -> None:
    sanitizers = [SANITIZERS] if has_sanitizer("address,undefined", tmp_path) else []
    program = build(tmp_path, COMPILER, *sanitizers, "-DSTANDALONE")
    said = fuzz(program, str(CORPUS), str(COUNT), str(SEED))
    tell("fuzzing, C decoders, by chance", f"{said.strip()}; nothing found", SEED)


def test_chip_guided(tell: Teller) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed: pip install atheris")
    tell(f"fuzzing, chip, guided by coverage, {SEED}", f"{chip.guided(COUNT, SEED)}; nothing found", SEED)


def test_chip_blind(tell: Teller) -> None:
    tell("fuzzing, chip, by chance", f"{chip.blind(COUNT // 10, SEED)}; nothing found", SEED)
