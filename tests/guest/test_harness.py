"""What makes the guest, as far as it can be tested without one."""

import lzma
import os
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.guest.harness import __main__ as session
from tests.guest.harness import packages
from tests.guest.harness.artefacts import unpacked_kernel
from tests.guest.harness.initramfs import cpio
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


def test_a_kernel_is_taken_out_of_its_image() -> None:
    kernel = b"\x7fELF" + bytes(1000)
    packed = lzma.compress(kernel, lzma.FORMAT_XZ)
    assert unpacked_kernel(b"what unpacks it" + packed + b"what follows") == kernel
    for other in (b"no archive", b"\xfd7zXZ\0 neither", b"x" + lzma.compress(b"no kernel", lzma.FORMAT_XZ)):
        assert unpacked_kernel(other) == other


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
    reports = [tmp_path / "0.xml", tmp_path / "1.xml"]
    reports[0].write_text(
        '<testsuites><testsuite tests="9" failures="2" errors="0" skipped="1"/></testsuites>'
    )
    assert session.counts(reports[:1]) == "6 cases passed, 2 failures, 1 skipped"
    assert session.counts(reports) == "no report"
    reports[1].write_text(
        '<testsuites><testsuite tests="4" failures="1" errors="0" skipped="0"/></testsuites>'
    )
    assert session.counts(reports) == "9 cases passed, 3 failures, 1 skipped"


SHARING = """
import os
from pathlib import Path
import pytest
from tests.guest.inside.sharing import run_share

def tell(*words):
    with open(os.environ["SAID"], "a") as file:
        print(*words, file=file)

def pytest_runtestloop(session):
    run_share(session, Path(os.environ["CLAIMS"]), backwards=os.environ["NUMBER"] != "0")
    return True

@pytest.fixture(scope="module", autouse=True)
def opened(request):
    tell("open", request.path.stem)
    yield
    tell("close", request.path.stem)

@pytest.fixture(autouse=True)
def told(request):
    tell(request.path.stem, request.node.name)
"""


def run_share(folder: Path, number: int) -> list[str]:
    """What one of two machines does."""
    said = folder / f"said-{number}"
    environment = os.environ | {"CLAIMS": str(folder / "claims"), "NUMBER": str(number), "SAID": str(said)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        "--rootdir",
        str(folder),
        str(folder),
    ]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return said.read_text().splitlines()


def test_machines_share_the_tests(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(SHARING)
    for name in ("test_a", "test_b", "test_the_kernel"):
        (tmp_path / f"{name}.py").write_text("def test_0(): pass\ndef test_1(): pass\n")
    claims = tmp_path / "claims"
    claims.mkdir()
    everything = run_share(tmp_path, 0)
    end = [
        "open test_the_kernel",
        "test_the_kernel test_0",
        "test_the_kernel test_1",
        "close test_the_kernel",
    ]
    assert everything == [
        "open test_a", "test_a test_0", "test_a test_1", "close test_a",
        "open test_b", "test_b test_0", "test_b test_1", "close test_b",
        *end,
    ]  # fmt: skip
    assert run_share(tmp_path, 1) == end, "what another has begun is its affair; the end is everybody's own"
    for number in range(2):
        (claims / quote(f"test_b.py::test_{number}", safe="")).rmdir()
    (tmp_path / "said-1").unlink()
    assert run_share(tmp_path, 1) == [
        "open test_b", "test_b test_1", "test_b test_0", "close test_b",
        *end,
    ]  # fmt: skip


def test_tests_for_the_guest_are_not_collected_here() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GUEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--co", "-q", "tests/guest"],
        cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "tests/guest/test_harness.py::test_cpio" in done.stdout
    assert "inside" not in done.stdout
