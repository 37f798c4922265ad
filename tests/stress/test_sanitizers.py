"""The C of all backends under the sanitizers: the tests about rings, threads and memory once more, and storms."""

from __future__ import annotations

import os

import pytest

from tests.cpu.sanitizers import has_sanitizer

from .conftest import Teller
from .instrumented import FINDS, FLAGS, PACKAGES, Instrumented

#: Operations of a storm on the CPU backend; the emulated chip gets a tenth.
COUNT = int(os.environ.get("STRESS_SANITIZED", "20000"))
SEED = int(os.environ.get("STRESS_SEED", "1"))

STORM = """
import sys

import anyio, wdasync
from tests.storm import DEPTH, weather

name, loop, count, seed = sys.argv[1:]

async def main():
    async with wdasync.open_accelerator(name, depth=DEPTH, fallback=False, inline=False) as acc:
        storm = await weather(acc, int(count), seed=int(seed))
        print(f"{count} operations: {storm.ended['done']} done, {storm.ended['cancelled']} cancelled")

backend, options = {"asyncio": ("asyncio", {}), "uvloop": ("asyncio", {"use_uvloop": True}), "trio": ("trio", {})}[loop]
anyio.run(main, backend=backend, backend_options=options)
"""

#: Limits on the address space do not go with the sanitizers' shadow memory; and in a forked child of a process with threads
#: the sanitizers' own state is as the fork found it: one says so and ends, the other may wait for ever.
LEFT_OUT = "not memory and not fork and not child"

#: Sanitizer -> tests of the ordinary run that are run once more. Those with the address sanitizer in the CPU backend are in
#: test_cpu_native.py.
SUITES = {
    "address": ["tests/uacce", "tests/cpu/test_load.py", "tests/cpu/test_threads.py"],
    "thread": [
        f"tests/cpu/test_{name}.py"
        for name in ("gone", "load", "paged", "ring", "signing", "streams", "threads")
    ],
}


@pytest.fixture(scope="module", params=list(FLAGS))
def instrumented(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Instrumented:
    folder = tmp_path_factory.mktemp(request.param)
    if not has_sanitizer(request.param, folder):
        pytest.skip(f"the compiler has no sanitizer {request.param} that runs here")
    return Instrumented(folder / "home", request.param)


def test_it_is_used_and_finds_something(instrumented: Instrumented) -> None:
    """The programs below run on the instrumented packages, and what is wrong in such code is found."""
    code = (
        f"import {', '.join(PACKAGES)}; print({', '.join(f'{name}._native.__file__' for name in PACKAGES)})"
    )
    imports = "; ".join(f"import {name}._native" for name in PACKAGES)
    printed = instrumented.good("-c", f"{imports}; {code}")
    assert printed.count(str(instrumented.folder)) == len(PACKAGES)
    assert FINDS[instrumented.sanitizer] in instrumented.canary()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
@pytest.mark.parametrize(("name", "part"), [("cpu", 1), ("hip08", 10)])
def test_storm(instrumented: Instrumented, name: str, part: int, loop: str, tell: Teller) -> None:
    said = instrumented.good("-c", STORM, name, loop, str(COUNT // part), str(SEED))
    tell(
        f"storm under the {instrumented.sanitizer} sanitizer, {name}, {loop}",
        f"{said.strip()}; nothing found",
        SEED,
    )


def test_suite(instrumented: Instrumented, tell: Teller) -> None:
    tests = SUITES[instrumented.sanitizer]
    said = instrumented.good(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=600", "-k", LEFT_OUT, *tests
    )
    figures = f"{said.strip().splitlines()[-1].strip('= ')}; nothing found"
    tell(f"tests under the {instrumented.sanitizer} sanitizer", figures, 0)
