"""How the extension is built."""

import runpy
from pathlib import Path

import pytest

import wdasync_cpu
from wdasync_cpu import binding

SCRIPT = Path(wdasync_cpu.__file__).with_name("build_native.py")


def test_an_unknown_library_to_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDASYNC_BUILD_LINK", "isal snappy")
    with pytest.raises(
        SystemExit, match=r"expected names of isal, libdeflate, zstd, lz4, ipsec-mb, got snappy"
    ):
        runpy.run_path(str(SCRIPT))


def test_libraries_to_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDASYNC_BUILD_LINK", "isal libdeflate")
    _, _, _, options = runpy.run_path(str(SCRIPT))["ffibuilder"]._assigned_source
    assert {"-lisal", "-ldeflate"} <= set(options["extra_link_args"])


def test_a_checkout_brings_no_libraries() -> None:
    """They are found when they are wanted, and their files are named."""
    assert frozenset() == binding.LINKED
    assert binding.library_problem("zlib") == ""
    assert Path(binding.library_file("zlib")).name
    assert binding.library_file("nonsense") == ""
