"""What other projects got wrong, as tests of ours: each names the project and the number of the report.

A report is told in our own words: what was done, what came out, and what has to come out here.
"""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import anyio.lowlevel
import pytest

from wdasync.testing.mock import Program, backend

#: Compresses well, and is large enough not to run inline.
TEXT = b"".join(b"message %d of a long conversation\n" % number for number in range(3000))


@pytest.fixture
def program() -> Iterator[Program]:
    """What the mock does: four slots, and an engine that takes them all at once."""
    with backend.programmed(depth=4) as program:
        yield program
        assert not program.complaints
        assert not program.devices, "a device was left open"


async def turns(count: int) -> None:
    """So many turns of the event loop."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


def run_program(source: str, *, patience: float = 60.0, **environment: str) -> str:
    """Run a program in an interpreter of its own; what it printed."""
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
