"""Run by `nox -s release` where its wheel is installed. Arguments: the libraries that have to come from it.

Not a test module: it must not see the checkout, pytest or any extra.
"""

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import wdasync
from wdasync_cpu import binding

TEXT = b"What is written twice is written shorter the second time. " * 500


async def round_trips() -> None:
    """Each library does something that comes out as it went in."""
    async with wdasync.open_accelerator("cpu") as accelerator:
        for algorithm, level in (("gzip", "fast"), ("gzip", "balanced"), ("zstd", "fast"), ("lz4", "fast")):
            packed = await accelerator.compress(TEXT, algorithm, level=level)
            assert len(packed) < len(TEXT) / 10, (algorithm, level)
            assert await accelerator.decompress(packed, algorithm) == TEXT
        assert await accelerator.digest(TEXT, "sha256") == hashlib.sha256(TEXT).digest()


def main(libraries: list[str]) -> None:
    """They lie beside the packages, and are used from there; doctor says so."""
    beside = Path(binding.__file__).parents[1] / "wdasync.libs"
    for library in libraries:
        assert not binding.library_problem(library), binding.library_problem(library)
        file = Path(binding.library_file(library))
        assert file.parent == beside, f"{library} came from {file}, not from {beside}"
    asyncio.run(round_trips())
    command = [sys.executable, "-m", "wdasync", "doctor"]
    environment = {**os.environ, "COLUMNS": "400"}  # no line is broken
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
    assert said.count("wdasync.libs") >= len(libraries), said
    print("The wheel's own libraries work:", ", ".join(libraries))


if __name__ == "__main__":
    main(sys.argv[1:])
