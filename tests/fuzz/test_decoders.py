"""10⁴ cases for the C decoders: the kept corpus, and what chance makes of it. `nox -s stress` does 10⁶, guided by coverage."""

import re
from pathlib import Path

import pytest

from tests.cpu.sanitizers import COMPILER, has_sanitizer

from .decoders import CORPUS, SANITIZERS, build, fuzz, read_corpus


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decoders")
    sanitizers = [SANITIZERS] if has_sanitizer("address,undefined", folder) else []
    return build(folder, COMPILER, *sanitizers, "-DSTANDALONE", "-Wall", "-Wextra", "-Werror")


def test_any_bytes(program: Path) -> None:
    said = fuzz(program, str(CORPUS), "10000", "1")
    assert said.startswith(f"10000 cases, {len(read_corpus(CORPUS))} of the corpus")
    found = re.search(r"accepted: (\d+) of the corpus, (\d+) of all", said)
    assert found is not None
    assert 100 < int(found[1]) < int(found[2]), "hardly a case is a unit"


def test_a_wrong_decoder_is_found(tmp_path: Path) -> None:
    """Decoders whose streams forget the last byte of each step, as far as the harness sees them."""
    program = build(tmp_path, COMPILER, "-DSTANDALONE", "-DFORGETFUL")
    with pytest.raises(AssertionError, match="a stream gives something else than the whole unit"):
        fuzz(program, str(CORPUS), "1", "1")
