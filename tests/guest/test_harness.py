"""What makes the guest, as far as it can be tested without one."""

import gzip
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guest.harness import __main__ as session
from tests.guest.harness import packages
from tests.guest.harness.initramfs import cpio, pack
from tests.guest.harness.packages import SERIES, Kernel, Unavailable, choose
from tests.programs import needs

CHECKOUT = Path(__file__).parents[2]


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Name -> mode, contents, read back as the format's description has it."""
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, nbytes, name_bytes = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_bytes - 1].decode()
        data = at + 110 + name_bytes + (-(110 + name_bytes) % 4)
        if name == "TRAILER!!!":
            return found
        found[name] = mode, archive[data : data + nbytes]
        at = data + nbytes + -nbytes % 4


def test_cpio() -> None:
    found = entries(cpio({"init": (b"#!", 0o755), "a/b/c": (b"12345", 0o600)}))
    assert found["init"] == (stat.S_IFREG | 0o755, b"#!")
    assert found["a/b/c"] == (stat.S_IFREG | 0o600, b"12345")
    assert found["a"][0] == found["a/b"][0] == stat.S_IFDIR | 0o755
    assert stat.S_ISCHR(found["dev/console"][0])
    assert list(found).index("a") < list(found).index("a/b") < list(found).index("a/b/c")


@needs("cpio")
def test_cpio_as_others_read_it(tmp_path: Path) -> None:
    archive = cpio({"folder/file": (b"text", 0o644)})
    subprocess.run(
        ["cpio", "-i", "--no-absolute-filenames", "folder", "folder/file"],
        input=archive,
        cwd=tmp_path,
        check=True,
    )
    assert (tmp_path / "folder/file").read_bytes() == b"text"


def test_pack() -> None:
    assert entries(gzip.decompress(pack({"init": (b"x", 0o755)})))["init"][1] == b"x"


def offered(release: str, *versions: str, without: str = "-") -> dict[str, tuple[str, ...]]:
    """What apt offers when all packages of a kernel are there, but those that contain ``without``."""
    names = (package.partition("=")[0] for package in Kernel("", release).packages)
    return {name: versions for name in names if without == "-" or without not in name}


def by_number(first: str, second: str) -> int:
    return (first > second) - (first < second)


def test_the_newest_version_that_is_whole() -> None:
    older, newer = f"{SERIES}.0-1-amd64", f"{SERIES}.0-2-amd64"
    table = {**offered(older, "1"), **offered(newer, "2")}
    table[f"linux-source-{SERIES}"] = table[f"linux-kbuild-{SERIES}"] = ("1", "2", "3")
    assert choose(table, [older, newer], by_number) == Kernel("2", newer)
    # The source is newer than the image, as happens between two updates: the other image it is.
    table[f"linux-source-{SERIES}"] = ("1", "3")
    assert choose(table, [older, newer], by_number) == Kernel("1", older)


@pytest.mark.parametrize("part", ["image", "headers", "kbuild", "source", "common"])
def test_no_version_is_whole(part: str) -> None:
    release = f"{SERIES}.0-1-amd64"
    table = offered(release, "1", without=part)
    with pytest.raises(Unavailable, match="apt offers no version of Linux"):
        choose(table, [release], by_number)


@needs("dpkg")
def test_versions_are_compared_as_debian_does() -> None:
    assert packages.newer("6.1.176-1", "6.1.99-2") == 1
    assert packages.newer("6.1.176-1~bpo1", "6.1.176-1") == -1
    assert packages.newer("1", "1") == 0


def test_a_command_that_is_missing() -> None:
    with pytest.raises(Unavailable, match="wdasync-nonesuch is missing"):
        packages.output("wdasync-nonesuch")


@pytest.mark.parametrize(("ci", "status", "word"), [("", 0, "skipped"), ("true", 1, "impossible")])
def test_a_machine_that_cannot(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ci: str, status: int, word: str
) -> None:
    def prepare(*_: object) -> None:
        raise Unavailable("it has no apt")

    monkeypatch.setattr(session, "prepare", prepare)
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(sys, "argv", ["guest"])
    assert session.main() == status
    assert f"{word}: it has no apt" in capsys.readouterr().out


def test_counts(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    assert session.counts(report) == "no report"
    report.write_text('<testsuites><testsuite tests="9" failures="2" errors="0" skipped="1"/></testsuites>')
    assert session.counts(report) == "6 cases passed, 2 failures, 1 skipped"


def test_tests_for_the_guest_are_not_collected_here() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GUEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--co", "-q", "tests/guest"],
        cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "tests/guest/test_harness.py::test_cpio" in done.stdout
    assert "inside" not in done.stdout
