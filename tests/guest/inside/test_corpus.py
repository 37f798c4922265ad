"""The recording of driver and emulated chip, on this kernel's device: both must answer alike."""

import pytest

from tests.guest.inside.device import Zip, insmod, rmmod
from tests.uacce.replay import DEPTH, Mismatch, replay
from wdasync_uacce import LinuxFiles


def test_replay(devices: tuple[Zip, Zip]) -> None:
    layer = LinuxFiles()
    rmmod("wdasync_zip")
    insmod("wdasync_zip", f"depth={DEPTH}")
    try:
        assert replay(layer, layer.discover()[0]) > 3 * DEPTH
    finally:
        rmmod("wdasync_zip")
        insmod("wdasync_zip", "devices=2")


def test_rings_of_another_depth(devices: tuple[Zip, Zip]) -> None:
    layer = LinuxFiles()
    with pytest.raises(Mismatch, match="expected rings of"):
        replay(layer, layer.discover()[0])
