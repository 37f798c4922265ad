"""What is read of a machine: it may be missing, empty or not readable, and nothing raises."""

import gzip
import os
import re
from pathlib import Path

import pytest

from wdasync_uacce import Host, LinuxFiles, UacceBackend
from wdasync_uacce.host import FUNCTIONS, OPTIONS, missing
from wdasync_uacce.system import Linux


def test_a_machine_of_which_nothing_can_be_read(tmp_path: Path) -> None:
    host = Host(tmp_path, tmp_path, tmp_path)
    assert (host.functions(), host.configuration(), host.iommus(), host.command_line()) == ([], None, [], ())
    assert not host.module("hisi_zip")
    assert host.parameter("hisi_zip", "uacce_mode") is None
    assert host.release == os.uname().release
    backend = UacceBackend(LinuxFiles(tmp_path, tmp_path), host)
    assert list(backend.devices()) == []
    (check,) = backend.diagnose(backend.Options())
    assert (check.name, check.passed) == ("accelerators", False)


@pytest.mark.parametrize("device", FUNCTIONS)
def test_functions_of_the_bus(tmp_path: Path, device: int) -> None:
    for address, vendor, number in [
        ("1", "0x19e5", hex(device)),
        ("2", "0x19e5", "0x1234"),
        ("3", "0x8086", hex(device)),
        ("4", "", "x"),
    ]:
        function = tmp_path / "bus/pci/devices" / address
        function.mkdir(parents=True)
        (function / "vendor").write_text(vendor)
        (function / "device").write_text(number)
    (found,) = Host(tmp_path).functions()
    assert found == ("1", *FUNCTIONS[device], "", False)


@pytest.mark.parametrize("data", [b"not gzip", gzip.compress(b"CONFIG_UACCE=m")[:-9], b""])
def test_a_configuration_that_is_broken_is_looked_for_elsewhere(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "config.gz").write_bytes(data)
    (tmp_path / "config-1.2").write_text("CONFIG_UACCE=y\n# CONFIG_ARM64 is not set\n")
    found = Host(proc=tmp_path, boot=tmp_path, release="1.2").configuration()
    assert found == (tmp_path / "config-1.2", {"CONFIG_UACCE": "y"})


def test_options_that_are_missing() -> None:
    names = [option.names[0] for option in missing({})]
    assert names == ["CONFIG_UACCE", "CONFIG_CRYPTO_DEV_HISI_QM", "CONFIG_CRYPTO_DEV_HISI_ZIP"]
    assert list(missing({"CONFIG_ARM64": "y"})) == list(OPTIONS)
    older = {name: "m" for option in OPTIONS for name in option.names[-1:]} | {"CONFIG_ARM64": "y"}
    assert list(missing(older)) == []


def test_a_file_as_ls_shows_it(tmp_path: Path) -> None:
    node = tmp_path / "node"
    assert Linux().describe(node) is None
    node.touch(mode=0o640)
    assert re.fullmatch(r"-rw-r----- \S+ \S+", Linux().describe(node) or "")
