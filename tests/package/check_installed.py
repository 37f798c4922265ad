"""Run by `nox -s package` with the Python of an environment that holds the wheel and nothing else of ours.

Not a test module: it must not see the checkout, pytest or any extra.
"""

import asyncio
import gzip
import importlib
import importlib.metadata
import sys
from pathlib import Path

PACKAGES = ("wdasync", "wdasync_cpu", "wdasync_uacce", "wdasync_hip08")
PAGE = b"<p>What is written twice is written shorter the second time.</p>" * 300


async def round_trip() -> None:
    """One await in each direction, checked against the standard library's decoder."""
    import wdasync

    async with wdasync.open_accelerator() as accelerator:
        body = await accelerator.compress(PAGE, "gzip")
        assert gzip.decompress(body) == PAGE
        assert len(body) < len(PAGE) // 4, len(body)
        assert await accelerator.decompress(body, "gzip") == PAGE


def main() -> None:
    """Import each package from the environment, load each entry point, and use the default backend."""
    for name in PACKAGES:
        module = importlib.import_module(name)
        assert module.__file__ is not None
        home = Path(module.__file__).parent
        assert home.is_relative_to(sys.prefix), f"{name} came from {home}, not from the wheel"
        assert (home / "py.typed").is_file(), f"{name} has no py.typed"
    entry_points = importlib.metadata.distribution("wdasync").entry_points
    for entry_point in entry_points.select(group="wdasync.backends"):
        assert entry_point.load() is not None
    asyncio.run(round_trip())
    print("The installed wheel works:", ", ".join(point.name for point in entry_points))


if __name__ == "__main__":
    main()
