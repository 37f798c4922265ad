"""Tests that need the guest: they load kernel modules."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest.inside.device import Zip, insmod, rmmod
from tests.guest.inside.sharing import run_share

if "GUEST_MODULES" not in os.environ:
    collect_ignore_glob = ["*"]


def pytest_collection_finish() -> None:
    """From here on things come and go. What there is now stays, and is not looked at again."""
    gc.freeze()
    gc.enable()


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """With another machine beside this one, each does a part."""
    if "GUEST_CLAIMS" not in os.environ or session.testsfailed:
        return None
    run_share(session, Path(os.environ["GUEST_CLAIMS"]), backwards=os.environ["GUEST_NUMBER"] != "0")
    return True


@pytest.fixture(scope="session")
def uacce() -> Iterator[None]:
    """The kernel's core, over the board."""
    insmod("wdasync_board")
    insmod("uacce")
    yield
    rmmod("uacce")
    rmmod("wdasync_board")


@pytest.fixture(scope="session")
def devices(uacce: None) -> Iterator[tuple[Zip, Zip]]:
    """Two devices."""
    insmod("wdasync_zip", "devices=2")
    yield Zip(0), Zip(1)
    rmmod("wdasync_zip")


@pytest.fixture
def device(devices: tuple[Zip, Zip]) -> Iterator[Zip]:
    """The first one, whole before and after."""
    devices[0].heal()
    yield devices[0]
    devices[0].heal()


@pytest.fixture(scope="module")
def one_device(devices: tuple[Zip, Zip]) -> Iterator[None]:
    """Only the first: when it fails, no other takes over."""
    rmmod("wdasync_zip")
    insmod("wdasync_zip", "devices=1")
    yield
    rmmod("wdasync_zip")
    insmod("wdasync_zip", "devices=2")


@pytest.fixture
def two_devices(one_device: None) -> Iterator[tuple[Zip, Zip]]:
    """Both."""
    rmmod("wdasync_zip")
    insmod("wdasync_zip", "devices=2")
    yield Zip(0), Zip(1)
    rmmod("wdasync_zip")
    insmod("wdasync_zip", "devices=1")
