"""What the tests of our package in the guest share."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import anyio
from click.testing import CliRunner

import wdasync
from tests.guest.inside.device import DRIVER, Zip, insmod
from wdasync.cli import app

__all__ = ["ALONE", "TEXT", "comes_back", "command", "doctor", "part", "restore", "well"]

TEXT = b"".join(b"line %d of a text that can be compressed, as most can\n" % number for number in range(2000))

#: Only the device does the work, and it is asked for everything.
ALONE = {"fallback": False, "inline": False}


def part(number: int, nbytes: int = 3000) -> bytes:
    """Text that is another for each number."""
    return b"%d: " % number + TEXT[number % 1000 :][:nbytes]


def command(*words: str) -> tuple[int, str]:
    """Exit status and output of ``python -m wdasync WORDS``."""
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    return done.exit_code, done.output


def doctor() -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit status, and what it found by name."""
    status, text = command("doctor", "--backend", "uacce", "--json")
    told = json.loads(text)
    return status, {check["name"]: check for check in told["checks"]}


def well() -> None:
    status, checks = doctor()
    assert status == 0, checks
    assert checks["hisi_zip-0 isolation"]["passed"] is True


def restore(device: Zip) -> None:
    """Whatever was done to it."""
    if not DRIVER.exists():
        insmod("wdasync_zip", "devices=1")
    device.heal()


async def comes_back(acc: wdasync.Accelerator) -> None:
    """The accelerator finds the device again by itself."""
    with anyio.fail_after(60):
        while True:
            with contextlib.suppress(wdasync.WdasyncError):
                result = await acc.execute(wdasync.Compress(b"back " * 50, "gzip"))
                if result.backend == "uacce":
                    return
            await anyio.sleep(0.05)
