"""One program, three configuration files: which backend does the work is not the program's business.

    python examples/swap_backends.py                                              # the best that is here
    WDASYNC_CONFIG=examples/swap_backends/cpu.toml python examples/swap_backends.py
    WDASYNC_CONFIG=examples/swap_backends/chip.toml python examples/swap_backends.py
    WDASYNC_CONFIG=examples/swap_backends/split.toml python examples/swap_backends.py

It compresses and decompresses texts of several sizes, and says of each where that ran, and why.
"""

from __future__ import annotations

import anyio

import wdasync

SIZES = (200, 5_000, 100_000, 1_000_000)


def text_of(size: int) -> bytes:
    """A text of so many bytes."""
    line = "The quick brown fox jumps over the lazy dog, for the {}th time.\n"
    return "".join(line.format(number) for number in range(size // 60 + 1)).encode()[:size]


async def main() -> None:
    """The program. It names no backend."""
    async with wdasync.open_accelerator() as acc:
        print("devices:", ", ".join(acc.capabilities()))
        for size in SIZES:
            text = text_of(size)
            packed = await acc.execute(wdasync.Compress(text, "gzip"), timeout=30.0)
            assert packed.output is not None
            plain = await acc.execute(wdasync.Decompress(packed.output, "gzip"), timeout=30.0)
            assert plain.output == text
            print(
                f"{size:>9,} bytes -> {packed.produced:>7,} on {packed.backend}/{packed.device} "
                f"({packed.reason.name.lower()}), back on {plain.backend} ({plain.reason.name.lower()})"
            )


if __name__ == "__main__":
    anyio.run(main)
