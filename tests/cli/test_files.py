"""``compress`` and ``decompress``: what comes out, what is refused, and that nothing half-done stays."""

import errno
import gzip
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Invoke, Start
from wdasync.cli import transfer

WBITS = {"gzip": 31, "zlib": 15, "deflate": -15}
SUFFIX = {"gzip": ".gz", "zlib": ".zz", "deflate": ".deflate"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- what comes out ------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", WBITS)
def test_there_and_back(invoke: Invoke, page: Path, algorithm: str) -> None:
    content = page.read_bytes()
    packed = page.with_name(page.name + SUFFIX[algorithm])
    assert invoke("compress", "-a", algorithm, page).exit_code == 0
    assert zlib.decompress(packed.read_bytes(), WBITS[algorithm]) == content
    assert packed.stat().st_size < len(content) / 2
    assert page.read_bytes() == content
    page.unlink()
    assert invoke("decompress", packed).exit_code == 0
    assert page.read_bytes() == content


@pytest.mark.parametrize(("algorithm", "suffix"), [("br", ".br"), ("zstd", ".zst"), ("lz4", ".lz4")])
def test_formats_that_the_standard_library_has_not(
    invoke: Invoke, page: Path, algorithm: str, suffix: str
) -> None:
    content, packed = page.read_bytes(), page.with_name(page.name + suffix)
    assert invoke("compress", "-b", "cpu", "-a", algorithm, page).exit_code == 0
    assert packed.stat().st_size < len(content)
    page.unlink()
    assert invoke("decompress", "-b", "cpu", packed).exit_code == 0
    assert page.read_bytes() == content


def test_silent_without_a_terminal(invoke: Invoke, page: Path) -> None:
    result = invoke("compress", page)
    assert (result.exit_code, result.output) == (0, "")


def test_an_empty_file(invoke: Invoke, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert invoke("compress", empty).exit_code == 0
    assert gzip.decompress((tmp_path / "empty.gz").read_bytes()) == b""
    assert invoke("decompress", "-f", tmp_path / "empty.gz").exit_code == 0
    assert empty.read_bytes() == b""


def test_several_members_are_one_file(invoke: Invoke, tmp_path: Path) -> None:
    """As ``zcat`` has it. On the backend of everyday life: what a stream makes of members is a matter of its device."""
    (tmp_path / "log.gz").write_bytes(gzip.compress(b"one ") + gzip.compress(b"two"))
    assert invoke("decompress", "-b", "cpu", "log.gz").exit_code == 0
    assert (tmp_path / "log").read_bytes() == b"one two"


def test_the_name_of_the_result_tells_the_algorithm(invoke: Invoke, page: Path, tmp_path: Path) -> None:
    assert invoke("compress", page, "-o", tmp_path / "x.zz").exit_code == 0
    assert zlib.decompress((tmp_path / "x.zz").read_bytes()) == page.read_bytes()


@pytest.mark.parametrize("level", ["fast", "balanced", "best", "0", "9"])
def test_levels(invoke: Invoke, page: Path, tmp_path: Path, level: str) -> None:
    assert invoke("compress", page, "-l", level, "-o", tmp_path / level).exit_code == 0
    data = (tmp_path / level).read_bytes()
    assert gzip.decompress(data) == page.read_bytes()
    assert (len(data) > page.stat().st_size) == (level == "0")


def test_the_result_takes_over_permissions_and_time(invoke: Invoke, page: Path) -> None:
    page.chmod(0o640)
    os.utime(page, (1_000_000_000, 1_100_000_000))
    assert invoke("compress", page).exit_code == 0
    status = page.with_name("page.html.gz").stat()
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert status.st_mtime == 1_100_000_000


def test_remove(invoke: Invoke, page: Path, tmp_path: Path) -> None:
    assert invoke("compress", "--remove", page).exit_code == 0
    assert names(tmp_path) == {"page.html.gz"}
    assert invoke("decompress", "-K", "page.html.gz").exit_code == 0
    assert names(tmp_path) == {"page.html"}


def test_memory_is_constant(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more than a chunk is in hand, however much comes out of however little."""
    pieces: list[int] = []
    write = transfer.Output.write

    async def watched(self: transfer.Output, data: bytes) -> None:
        pieces.append(len(data))
        await write(self, data)

    monkeypatch.setattr(transfer.Output, "write", watched)
    with (tmp_path / "zeros").open("wb") as file:
        file.truncate(50 << 20)
    assert invoke("compress", "zeros", "--remove").exit_code == 0
    assert sum(pieces) < 1 << 20
    pieces.clear()
    assert invoke("decompress", "zeros.gz").exit_code == 0
    assert sum(pieces) == 50 << 20
    assert max(pieces) <= transfer.CHUNK


def test_a_link_stays_a_link(invoke: Invoke, page: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "real.gz").touch()
    (tmp_path / "page.html.gz").symlink_to(folder / "real.gz")
    assert invoke("compress", "--force", page).exit_code == 0
    assert (tmp_path / "page.html.gz").is_symlink()
    assert gzip.decompress((folder / "real.gz").read_bytes()) == page.read_bytes()


def test_a_device_is_written_and_not_replaced(invoke: Invoke, page: Path) -> None:
    assert invoke("compress", page, "-o", "/dev/null").exit_code == 0
    assert Path("/dev/null").is_char_device()


# --- standard input and output -------------------------------------------------------------------------


def test_a_pipeline(start: Start, page: Path) -> None:
    content = page.read_bytes()
    packed, messages = start("compress", "-").communicate(content)
    assert messages == b""
    assert gzip.decompress(packed) == content
    plain, messages = start("decompress", "-").communicate(packed)
    assert messages == b""
    assert plain == content


def test_standard_input_from_a_file(start: Start, page: Path) -> None:
    with page.open("rb") as file:
        packed, _ = start("compress", "-", "-a", "zlib", stdin=file).communicate()
    assert zlib.decompress(packed) == page.read_bytes()


def test_standard_input_that_is_empty(start: Start) -> None:
    packed, _ = start("compress", "-", stdin=subprocess.DEVNULL).communicate()
    assert gzip.decompress(packed) == b""


def test_a_reader_that_goes_away(start: Start, page: Path) -> None:
    process = start("compress", "-l", "0", page, "-o", "-")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    assert process.wait() == 1


# --- what is refused -----------------------------------------------------------------------------------


def test_an_existing_file_is_not_overwritten(invoke: Invoke, page: Path, tmp_path: Path) -> None:
    target = tmp_path / "page.html.gz"
    target.write_text("mine")
    result = invoke("compress", page)
    assert result.exit_code == 1
    assert (
        result.stderr
        == f"Error: {target}: exists already; give --force to replace it, or name another with -o\n"
    )
    assert target.read_text() == "mine"
    assert names(tmp_path) == {"page.html", "page.html.gz"}
    assert invoke("compress", "--force", page).exit_code == 0
    assert gzip.decompress(target.read_bytes()) == page.read_bytes()


def appear(target: Path) -> Callable[[int], None]:
    """A progress function that creates the target while the work is going on."""

    def advance(done: int) -> None:
        target.write_text("somebody else's")

    return advance


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_file_that_appears_meanwhile_is_not_overwritten(
    invoke: Invoke, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    target = tmp_path / "page.html.gz"
    chunks = transfer.Input.chunks
    monkeypatch.setattr(transfer.Input, "chunks", lambda self, _: chunks(self, appear(target)))
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", no_links)
    result = invoke("compress", page)
    assert result.exit_code == 1
    assert "exists already" in result.stderr
    assert target.read_text() == "somebody else's"
    assert names(tmp_path) == {"page.html", "page.html.gz"}


def no_links(self: Path, target: Path) -> None:
    raise OSError(errno.EPERM, "Operation not permitted", str(target))


def test_a_file_system_without_links(
    invoke: Invoke, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    assert invoke("compress", page).exit_code == 0
    assert gzip.decompress((tmp_path / "page.html.gz").read_bytes()) == page.read_bytes()
    assert names(tmp_path) == {"page.html", "page.html.gz"}


def test_another_error_of_linking_is_told(
    invoke: Invoke, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(Path, "hardlink_to", full)
    result = invoke("compress", page)
    assert result.exit_code == 1
    assert result.stderr.endswith(": No space left on device\n")
    assert names(tmp_path) == {"page.html"}


USAGE = [
    (("compress", "page.html.gz"), 2, "has the suffix .gz already"),
    (("compress", "-a", "rle", "page.html"), 2, "no suffix is known for 'rle'"),
    (
        ("compress", "-l", "slow", "page.html"),
        2,
        'expected "fast", "balanced", "best" or a number, got \'slow\'',
    ),
    (("compress", "-l", "77", "page.html"), 1, "level: expected "),
    (("compress", "-a", "rle", "-o", "x", "page.html"), 1, "expected one of "),
    (("compress", "-b", "mok", "page.html"), 1, "did you mean 'mock'?"),
    (("decompress", "page.html"), 2, "say with -a which algorithm it is"),
    (("decompress", "-a", "gzip", "page.html"), 2, "no suffix of gzip to cut off"),
    (("decompress", ".gz"), 2, "expected a name that ends in"),
    (("compress", "--remove", "-"), 2, "--remove needs a file, got standard input"),
    (("compress", "--remove", "page.html", "-o", "-"), 2, "--remove needs a file for the result"),
    (("compress", "nowhere"), 1, "nowhere: No such file or directory"),
    (("compress", "."), 1, "is a directory"),
    (("compress", "page.html", "-o", "."), 1, "is a directory"),
    (("compress", "page.html", "-o", "nowhere/x.gz"), 1, "No such file or directory"),
    (("compress", "page.html", "-o", "nowhere/"), 1, "nowhere/: is a directory"),
    (("compress", "-f", "page.html", "-o", "page.html/"), 1, "page.html/: Not a directory"),
    (("compress", "--force", "page.html", "-o", "page.html"), 1, "is the input itself"),
    (("compress",), 2, "Missing argument"),
    (("compress", ""), 2, "expected a name, got an empty one"),
    (("compress", "page.html", "-o", ""), 2, "expected a name, got an empty one"),
    (("compress", "page.html", "-a", ""), 2, "expected a name, got an empty one"),
    (("compress", "page.html", "-b", ""), 2, "expected a name, got an empty one"),
    (("compress", "page.html", "-b", "Mock"), 1, "did you mean 'mock'?"),
    (("compress", "page.html", "-a", "GZIP"), 2, "no suffix is known for 'GZIP' (did you mean 'gzip'?)"),
    (("decompress", "page.html", "-a", "Zlib"), 2, "no suffix is known for 'Zlib' (did you mean 'zlib'?)"),
]


@pytest.mark.parametrize(("arguments", "status", "message"), USAGE)
def test_what_cannot_be(
    invoke: Invoke, page: Path, tmp_path: Path, arguments: tuple[str, ...], status: int, message: str
) -> None:
    content = page.read_bytes()
    result = invoke(*arguments)
    assert result.exit_code == status
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert names(tmp_path) == {"page.html"}
    assert page.read_bytes() == content


# --- input that is wrong -------------------------------------------------------------------------------

WRONG: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) // 2],
    "corrupt": lambda data: data[: len(data) // 2] + bytes(100) + data[len(data) // 2 + 100 :],
    "checksum": lambda data: data[:-8] + bytes(4) + data[-4:],
    "not gzip": lambda data: b"PK" + data,
    "garbage after the end": lambda data: data + b"garbage",
    "nothing": lambda _: b"",
}


@pytest.mark.parametrize("how", WRONG)
@pytest.mark.parametrize("existing", [False, True], ids=["new", "replacing"])
def test_wrong_input_leaves_nothing(
    invoke: Invoke, page: Path, tmp_path: Path, how: str, existing: bool
) -> None:
    (tmp_path / "x.gz").write_bytes(WRONG[how](gzip.compress(page.read_bytes())))
    if existing:
        (tmp_path / "x").write_text("mine")
    result = invoke("decompress", "x.gz", "-f", "--remove")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: x.gz: decompress gzip")
    assert result.stderr.count("\n") == 1
    assert names(tmp_path) == {"page.html", "x.gz"} | ({"x"} if existing else set())
    assert not existing or (tmp_path / "x").read_text() == "mine"


def test_a_full_disk(start: Start, page: Path) -> None:
    process = start("compress", page, "-o", "/dev/full")
    _, messages = process.communicate()
    assert process.returncode == 1
    assert messages == b"Error: /dev/full: No space left on device\n"


def test_a_folder_that_is_not_there_is_named_as_the_user_did(invoke: Invoke, page: Path) -> None:
    result = invoke("compress", page, "-o", "nowhere/page.gz")
    assert result.exit_code == 1
    assert result.stderr == "Error: nowhere/page.gz: No such file or directory\n"


def test_wrong_standard_input(start: Start) -> None:
    _, messages = start("decompress", "-").communicate(gzip.compress(b"hello")[:-4])
    assert messages.startswith(b"Error: standard input: decompress gzip: expected ")


def test_a_file_that_cannot_be_read_is_named(
    invoke: Invoke, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a disk that breaks."""

    def broken(fd: int, length: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "read", broken)
    result = invoke("compress", page, "-b", "cpu")
    assert (result.exit_code, result.stderr) == (1, f"Error: {page}: Input/output error\n")
    assert names(tmp_path) == {"page.html"}


@pytest.mark.parametrize("step", ["fchmod", "utime", "fsync"])
def test_a_result_that_cannot_be_completed_is_named(
    invoke: Invoke, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    result = invoke("compress", "-K", "page.html")
    assert (result.exit_code, result.stderr) == (1, "Error: page.html.gz: No space left on device\n")
    assert names(tmp_path) == {"page.html"}


# --- the result is the input ---------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["page.html", "-"])
@pytest.mark.parametrize("target", ["-", "/dev/stdout"])
def test_a_file_that_would_be_appended_to_itself(start: Start, page: Path, source: str, target: str) -> None:
    """It would be read as long as it grows."""
    content = page.read_bytes()
    with page.open("rb") as reader, page.open("ab") as writer:
        started = start("compress", "-f", source, "-o", target, stdin=reader, stdout=writer)
        _, messages = started.communicate(timeout=60)
    assert (started.returncode, b"is the input itself" in messages) == (1, True)
    assert page.read_bytes() == content


def test_a_pipe_to_itself(invoke: Invoke, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    holder = os.open(tmp_path / "pipe", os.O_RDWR)
    result = invoke("compress", "pipe", "-o", "pipe")
    os.close(holder)
    assert (result.exit_code, "is the input itself" in result.stderr) == (1, True)


def test_a_connection_may_be_both(start: Start) -> None:
    """As inetd starts programs."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            start("compress", "-", stdin=theirs, stdout=theirs)
        ours.sendall(b"hello")
        ours.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(partial(ours.recv, 4096), b""))
    assert gzip.decompress(answer) == b"hello"


@pytest.mark.parametrize(("number", "name"), [(0, "standard input"), (1, "standard output")])
def test_a_standard_stream_that_is_closed(start: Start, page: Path, number: int, name: str) -> None:
    """Its number is that of the next thing that is opened."""
    started = start("compress", "-" if number == 0 else page, "-o", "-", preexec_fn=lambda: os.close(number))
    _, messages = started.communicate(timeout=60)
    assert (started.returncode, messages.decode()) == (1, f"Error: {name}: Bad file descriptor\n")


STRANGE = "red\x1b[31m\nline\udcff\u00fc"
WRITTEN = "red\\x1b[31m\\nline\\udcff\u00fc"


def test_a_strange_name_is_no_command_to_a_terminal(invoke: Invoke, tmp_path: Path) -> None:
    """A failure stays one line, whoever named the file."""
    assert invoke("compress", STRANGE).stderr == f"Error: {WRITTEN}: No such file or directory\n"
    (tmp_path / STRANGE).write_bytes(b"hello")
    assert invoke("compress", STRANGE).exit_code == 0
    told = invoke("compress", STRANGE).stderr
    assert told.startswith(f"Error: {WRITTEN}.gz: exists already")
    assert told.count("\n") == 1
    (tmp_path / STRANGE).unlink()
    assert invoke("decompress", f"{STRANGE}.gz").exit_code == 0
    assert (tmp_path / STRANGE).read_bytes() == b"hello"


def test_a_file_that_is_named_as_a_folder(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = invoke("compress", "file/", "-o", "out")
    assert (result.exit_code, result.stderr) == (1, "Error: file/: Not a directory\n")


# --- what is not a file, and what others do meanwhile -----------------------------------------------------


def test_a_result_that_is_no_file_removes_nothing(invoke: Invoke, page: Path, tmp_path: Path) -> None:
    for target in ("/dev/null", "-"):
        result = invoke("compress", "-K", page, "-o", target)
        assert (result.exit_code, "--remove needs a file for the result" in result.output) == (2, True)
        assert page.exists()


@pytest.mark.parametrize("force", [(), ("-f",)])
def test_a_link_is_not_removed(invoke: Invoke, page: Path, tmp_path: Path, force: tuple[str, ...]) -> None:
    """The link would be gone, and the file still there."""
    (tmp_path / "link").symlink_to(page)
    result = invoke("compress", "-K", *force, "link")
    assert result.exit_code == 2
    assert "--remove needs a regular file, got link, a symbolic link" in " ".join(result.stderr.split())
    assert names(tmp_path) == {"page.html", "link"}
    assert invoke("compress", "link").exit_code == 0
    assert gzip.decompress((tmp_path / "link.gz").read_bytes()) == page.read_bytes()
    assert not (tmp_path / "link.gz").is_symlink()


def test_only_files_are_removed(invoke: Invoke, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    holder = os.open(pipe, os.O_RDWR)
    result = invoke("compress", "-K", pipe, "-o", tmp_path / "out.gz")
    os.close(holder)
    assert (result.exit_code, "--remove needs a regular file" in result.output) == (2, True)
    assert names(tmp_path) == {"pipe"}


@pytest.mark.parametrize("what", ["another file", "more of it"])
def test_what_was_not_read_is_not_removed(
    invoke: Invoke, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Of a log, say, that was rotated, or went on."""
    content, commit = page.read_bytes(), transfer.Output.commit

    def meanwhile(self: transfer.Output, *words: Any, **more: Any) -> None:
        if what == "another file":
            page.rename(tmp_path / "page.1")
            page.write_bytes(b"new")
        else:
            page.write_bytes(content + b"more")
        commit(self, *words, **more)

    monkeypatch.setattr(transfer.Output, "commit", meanwhile)
    result = invoke("compress", "-K", page, "-o", tmp_path / "out.gz")
    assert (result.exit_code, "it is kept" in result.output) == (1, True)
    assert gzip.decompress((tmp_path / "out.gz").read_bytes()) == content
    assert page.read_bytes() == (b"new" if what == "another file" else content + b"more")


def test_nobody_else_reads_what_is_not_complete(
    invoke: Invoke, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.chmod(0o600)
    modes: list[int] = []
    commit = transfer.Output.commit

    def look(self: transfer.Output, *words: Any, **more: Any) -> None:
        modes.extend(stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob(".*wdasync-part"))
        commit(self, *words, **more)

    monkeypatch.setattr(transfer.Output, "commit", look)
    before = os.umask(0o022)
    try:
        assert invoke("compress", page, "-o", tmp_path / "out.gz").exit_code == 0
    finally:
        os.umask(before)
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "out.gz").stat().st_mode) == 0o600


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_result_of_standard_input_has_the_permissions_of_any_new_file(
    start: Start, page: Path, tmp_path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        with page.open("rb") as content:
            started = start("compress", "-", "-o", str(tmp_path / "out.gz"), stdin=content)
        assert started.wait(60) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.gz").stat().st_mode) == 0o666 & ~umask


def test_a_pipe_with_a_name(start: Start, page: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    started = start("compress", page, "-o", str(pipe))
    assert gzip.decompress(pipe.read_bytes()) == page.read_bytes()
    assert started.wait(60) == 0


def heeds(pid: int, number: int) -> bool:
    """Whether a program has a handler for a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def test_a_pipe_that_nobody_reads_can_be_given_up(start: Start, page: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    started = start("compress", page, "-o", str(pipe))
    while not heeds(started.pid, signal.SIGTERM):
        assert started.poll() is None
        time.sleep(0.01)
    started.terminate()
    assert started.wait(60) == 128 + signal.SIGTERM


def test_standard_output_by_its_name(page: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wdasync", "compress", str(page), "-o", "/dev/stdout"],
        stdout=subprocess.PIPE,
        check=True,
    )
    assert gzip.decompress(done.stdout) == page.read_bytes()


def test_links_in_a_circle(invoke: Invoke, page: Path, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    result = invoke("compress", page, "-o", loop)
    assert (result.exit_code, "loop" in result.output) == (1, True)
    assert "Traceback" not in result.output
