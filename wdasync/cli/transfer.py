"""Bytes from a file or standard input, and to a file that appears only when it is complete."""

from __future__ import annotations

import errno
import os
import secrets
import select
import stat
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

import anyio

from .commands import Failure

__all__ = ["CHUNK", "STANDARD", "Input", "Output"]

#: Bytes read at a time: large enough that a hop to a device costs nothing, small enough to be constant memory.
CHUNK: Final = 1 << 20

#: Stands for standard input or output.
STANDARD: Final = "-"


#: Seconds between two looks whether somebody reads a pipe.
READER: Final = 0.02


def _umask() -> int:
    """What a new file is not allowed."""
    found = os.umask(0o077)
    os.umask(found)
    return found


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    """Errors name the file that the user named, or that they have no name for."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from error


def _open(stream: TextIO | None, name: str) -> None:
    """Whoever started us may have closed it. Its number is then that of whatever is opened next.

    :raises OSError: EBADF
    """
    if stream is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), name)


class Input:
    """A file or standard input, open for reading.

    :ivar name: for people
    :ivar path: ``None``: standard input
    :ivar size: bytes, where it is known; of a regular file
    :ivar stat: what was known of it when it was opened
    """

    def __init__(self, name: str) -> None:
        self.path = None if name == STANDARD else Path(name)
        self.name = "standard input" if self.path is None else name
        if self.path is None:
            _open(sys.stdin, self.name)
        self._fd = 0 if self.path is None else os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        self.stat = os.fstat(self._fd)
        if stat.S_ISDIR(self.stat.st_mode):
            self.close()
            raise Failure(f"{name}: is a directory; name one file, or pack it with tar first")
        self.size = self.stat.st_size if stat.S_ISREG(self.stat.st_mode) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent; standard input stays open."""
        if self._fd > 0:
            os.close(self._fd)
        self._fd = -1

    async def chunks(self, seen: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
        """Its content.

        :param seen: is told the length of each chunk once the next one is asked for
        """
        while True:
            if self.size is None:
                # A pipe or a terminal: wait where a signal can end the wait.
                with suppress(PermissionError):  # what epoll says of files that never block, like /dev/null
                    await anyio.wait_readable(self._fd)
            with _blaming(self.name):
                chunk = os.read(self._fd, CHUNK)
            if not chunk:
                return
            yield chunk
            seen(len(chunk))


class Output:
    """A file that is not there until :meth:`commit`; or standard output, a device or a pipe, written at once.

    Used as a context manager: leaving it without :meth:`commit` leaves nothing behind.

    :param name: a path, or ``-``
    :param force: replace a file
    :param text: what is written may go to a terminal
    :raises Failure: if the file exists and not ``force``, or is a terminal and not ``text``
    """

    def __init__(self, name: str, *, force: bool = False, text: bool = False) -> None:
        self._force = force
        self._part: Path | None = None
        self.written = 0
        if name == STANDARD:
            self.path, self.name, self._fd = None, "standard output", 1
            _open(sys.stdout, self.name)
            if os.isatty(1) and not text:
                raise Failure("standard output is a terminal; name a file with -o, or give --force")
            return
        self.path, self.name, self._fd = Path(name), name, -1
        kind = self._kind()
        if stat.S_ISDIR(kind):
            raise Failure(f"{name}: is a directory; name a file with -o")
        if stat.S_ISFIFO(kind):
            return  # who opens it waits for a reader: see begin()
        if not stat.S_ISREG(kind):
            self._fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC)
            return
        with _blaming(name):
            self.path = Path(os.path.realpath(name))  # through links, so that a link stays one
        if self.path.exists() and not force:
            raise self._exists()
        # In the same directory, so that a rename is all it takes. Nobody else reads it before its permissions are known.
        self._part = self.path.with_name(f".{secrets.token_hex(8)}.wdasync-part")
        with _blaming(name):
            self._fd = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    @property
    def is_file(self) -> bool:
        """Whether something will be there afterwards."""
        return self._part is not None

    def _kind(self) -> int:
        with _blaming(self.name):
            try:
                return os.stat(self.name).st_mode  # noqa: PTH116  Path forgets a slash at the end
            except FileNotFoundError:
                return stat.S_IFDIR if self.name.endswith("/") else stat.S_IFREG

    async def begin(self) -> None:
        """A pipe with a name: wait for its reader where a signal can end the wait."""
        while self._fd < 0:
            try:
                self._fd = os.open(self.name, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                await anyio.sleep(READER)
            else:
                os.set_blocking(self._fd, True)

    def _exists(self) -> Failure:
        return Failure(f"{self.name}: exists already; give --force to replace it, or name another with -o")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._fd > 1:
            os.close(self._fd)
        self._fd = -1
        if self._part is not None:
            self._part.unlink(missing_ok=True)

    async def write(self, data: bytes) -> None:
        """Write all of it."""
        rest = memoryview(data)
        with _blaming(self.name):
            while rest:
                if self._part is not None:
                    rest = rest[os.write(self._fd, rest) :]
                else:
                    rest = rest[await self._write_some(rest) :]
        self.written += len(data)

    async def _write_some(self, data: memoryview) -> int:
        """To something that may block: no more than fits without blocking, so that a signal can end the wait."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        if not poll.poll(0):
            await anyio.wait_writable(self._fd)
        return os.write(self._fd, data[: select.PIPE_BUF])

    def commit(self, like: os.stat_result | None, *, durable: bool = False) -> None:
        """The file is complete: give it its name.

        :param like: take over permissions and time of this file
        :param durable: wait until it is on the disk
        :raises Failure: if a file of that name has appeared meanwhile, and not ``force``
        """
        if self._part is None:
            return
        assert self.path is not None
        with _blaming(self.name):
            os.fchmod(self._fd, 0o666 & ~_umask() if like is None else stat.S_IMODE(like.st_mode) & 0o777)
            if like is not None:
                os.utime(self._fd, ns=(like.st_atime_ns, like.st_mtime_ns))
            if durable:
                os.fsync(self._fd)
            if self._force:
                self._part.replace(self.path)
            else:
                self._publish(self._part, self.path)
        self._part = None

    def _publish(self, part: Path, path: Path) -> None:
        """A second name for the file, which unlike a rename never replaces anything."""
        try:
            path.hardlink_to(part)
        except FileExistsError:
            raise self._exists() from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
                raise
            if path.exists():  # a file system without links: the best that can be done
                raise self._exists() from None
            part.replace(path)
        else:
            part.unlink()
