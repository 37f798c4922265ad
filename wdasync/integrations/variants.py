"""Files compressed once and kept: for servers that send the same files again and again.

A cache is a folder. Each variant of a file (its content in one coding) is a file there, named after what it was made from: path,
modification time, size, inode, coding and level. So a source that changes has another name, nothing has to be invalidated, and several
processes can share the folder: a variant is written under a name of its own and then renamed, which is atomic. What was not used
for longest goes when the folder holds more than it may.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

import anyio
from anyio import to_thread

from ..errors import InvalidArgument, WdasyncError
from ..operations import Kind, Level, Priority, check_bound, check_level
from .codings import ALGORITHMS, PREFERENCE, check_codings, offers, window_of
from .media import compressible
from .negotiation import IDENTITY, Preferences, choose

if TYPE_CHECKING:
    from ..accelerator import Accelerator

__all__ = ["Variant", "VariantCache"]

logger = logging.getLogger("wdasync.integrations")

#: What a finished variant's name ends with; what is being written has another end.
SUFFIX: Final = ".variant"
DRAFT: Final = ".draft"

#: Seconds after which nobody works on a draft any more.
ABANDONED: Final = 3600

#: Bytes that a file costs beside its content.
OVERHEAD: Final = 512

#: Bytes that are read and compressed at once.
PIECE: Final = 1 << 20


class Version(NamedTuple):
    """Which content of a file was meant, as far as the file system tells."""

    path: str
    mtime: int
    size: int
    inode: int

    @property
    def etag(self) -> str:
        """A strong entity tag, without its quotes: it changes whenever the content may have."""
        return hashlib.sha256(repr(self).encode("utf-8", "surrogateescape")).hexdigest()[:32]


class Variant(NamedTuple):
    """An opened file with the content in one coding. Whoever gets it closes ``file``.

    :ivar file: at its beginning; it stays readable when the cache drops it
    :ivar coding: as ``Content-Encoding`` has it; ``"identity"``: the source itself
    :ivar length: bytes
    :ivar etag: entity tag with its quotes, strong, different for each coding (RFC 9110 section 8.8.3.3)
    :ivar modified: modification time of the source, seconds since the epoch
    :ivar varies: another ``Accept-Encoding`` might have given another variant
    """

    file: BinaryIO
    coding: str
    length: int
    etag: str
    modified: float
    varies: bool


class VariantCache:
    """Compresses files once. It belongs to one event loop; others have one of their own, on the same folder if you like.

    :param folder: where variants are kept; it is made if it is not there, and may be shared by processes
    :param max_bytes: what the folder may hold
    :param codings: what may be used, best first
    :param level: how hard to try; a file is compressed once and sent often
    :param minimum_size: bytes below which a file is left alone
    :param max_size: bytes above which a file is left alone
    :raises InvalidArgument: if one of them cannot be right
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        max_bytes: int = 256 << 20,
        codings: tuple[str, ...] = PREFERENCE,
        level: Level = "balanced",
        minimum_size: int = 500,
        max_size: int = 64 << 20,
    ) -> None:
        self.folder = Path(folder)
        self.max_bytes = check_bound(max_bytes, "max_bytes", 1)
        self.codings = check_codings(codings)
        self.level = check_level(level)
        self.minimum_size = check_bound(minimum_size, "minimum_size", 0)
        self.max_size = check_bound(max_size, "max_size", 1)
        self.hits = self.misses = self.dropped = 0
        self._making: dict[str, anyio.Lock] = {}

    def __repr__(self) -> str:
        return f"<VariantCache {self.folder} {self.hits} hits, {self.misses} misses, {self.dropped} dropped>"

    async def open(
        self,
        accelerator: Accelerator,
        path: str | os.PathLike[str],
        preferences: Preferences,
        content_type: str = "",
    ) -> Variant:
        """The variant of a file that the client wants most.

        :param preferences: what the client accepts
        :param content_type: of the source: what is compressed already is left alone
        :raises OSError: if the source cannot be read
        :raises InvalidArgument: if it is no regular file
        """
        source, version = await to_thread.run_sync(_opened, os.fspath(path))
        try:
            worth = self.minimum_size <= version.size <= self.max_size and compressible(content_type)
            able = offers(accelerator, Kind.COMPRESS_CHUNK)
            coding = choose(preferences, [name for name in self.codings if name in able])
            if worth and coding not in (None, IDENTITY):
                assert coding is not None
                file = await self._attempt(accelerator, source, version, coding)
                if file is not None:
                    length = os.fstat(file.fileno()).st_size
                    source.close()
                    etag = f'"{version.etag}-{coding}"'
                    return Variant(file, coding, length, etag, version.mtime / 1e9, varies=True)
        except BaseException:
            source.close()
            raise
        return Variant(source, IDENTITY, version.size, f'"{version.etag}"', version.mtime / 1e9, varies=worth)

    async def _attempt(
        self, accelerator: Accelerator, source: BinaryIO, version: Version, coding: str
    ) -> BinaryIO | None:
        """The variant; ``None`` also if the device, the folder or its disk is in no state to have one."""
        try:
            return await self._variant(accelerator, source, version, coding)
        except (WdasyncError, OSError) as error:
            logger.warning("%s is sent as it is: %s", version.path, error)
            return None

    async def _variant(
        self, accelerator: Accelerator, source: BinaryIO, version: Version, coding: str
    ) -> BinaryIO | None:
        """The variant, made if need be; ``None``: its source has changed meanwhile, or it is not smaller."""
        key = hashlib.sha256(f"{version.etag} {coding} {self.level}".encode()).hexdigest()
        target = self.folder / f"{key}{SUFFIX}"
        lock = self._making.setdefault(key, anyio.Lock())
        try:
            async with lock:
                file = await to_thread.run_sync(_reopened, target)
                if file is None:
                    self.misses += 1
                    file = await self._make(accelerator, source, version, coding, target)
                else:
                    self.hits += 1
        finally:
            if not lock.locked():  # nobody waits for it
                self._making.pop(key, None)
        if file is not None and os.fstat(file.fileno()).st_size == 0:  # the mark of what does not get smaller
            file.close()
            return None
        return file

    async def _make(
        self, accelerator: Accelerator, source: BinaryIO, version: Version, coding: str, target: Path
    ) -> BinaryIO | None:
        """Compress into a new file, and put it in its place if the source has not changed meanwhile."""
        draft, name = await to_thread.run_sync(_drafted, self.folder)
        try:
            await self._compress(accelerator, source, coding, draft)
            if await to_thread.run_sync(_version, source.fileno(), version.path) != version:
                return None
            file, dropped = await to_thread.run_sync(
                _finished, draft, name, version.size, target, self.max_bytes
            )
            self.dropped += dropped
            return file
        finally:
            source.seek(0)
            with suppress(OSError):  # it has said so before
                draft.close()
            name.unlink(missing_ok=True)

    async def _compress(
        self, accelerator: Accelerator, source: BinaryIO, coding: str, draft: BinaryIO
    ) -> None:
        """Piece by piece: a large file is not held in memory. It gives way to what somebody waits for."""
        window = window_of(coding, self.level)
        stream = accelerator.compressor(
            ALGORITHMS[coding], level=self.level, window=window, priority=Priority.LOW
        )
        async with stream:
            while piece := await to_thread.run_sync(source.read, PIECE):
                await to_thread.run_sync(draft.write, await stream.compress(piece))
            await to_thread.run_sync(draft.write, await stream.finish())


# -- what blocks, and runs in threads -----------------------------------------------------------------------------


def _version(number: int, path: str) -> Version:
    status = os.fstat(number)
    if not stat.S_ISREG(status.st_mode):
        raise InvalidArgument(f"path: expected a regular file, got {path!r}, which is none")
    return Version(path, status.st_mtime_ns, status.st_size, status.st_ino)


def _opened(path: str) -> tuple[BinaryIO, Version]:
    """The file and its version. Without O_NONBLOCK, a pipe would block until somebody writes."""
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        version = _version(number, path)
    except BaseException:
        os.close(number)
        raise
    return os.fdopen(number, "rb"), version


def _reopened(target: Path) -> BinaryIO | None:
    """A variant that is there, marked as used now."""
    try:
        file = target.open("rb")
    except FileNotFoundError:
        return None
    with suppress(OSError):  # it is another user's
        os.utime(file.fileno())
    return file


def _drafted(folder: Path) -> tuple[BinaryIO, Path]:
    """A new file with a name that nobody else has."""
    folder.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(DRAFT, dir=folder)
    return os.fdopen(number, "wb"), Path(name)


def _finished(draft: BinaryIO, name: Path, size: int, target: Path, most: int) -> tuple[BinaryIO | None, int]:
    """Put a draft in its place; one that is not smaller than its source leaves an empty file there, as a mark.

    :returns: the variant, opened, and how many others had to go for it
    """
    draft.flush()
    if os.fstat(draft.fileno()).st_size >= size:
        draft.truncate(0)
    os.fsync(draft.fileno())  # else a crash may leave the name without the content
    name.replace(target)
    file = _reopened(target)
    try:
        return file, _trimmed(target.parent, most)
    except OSError as error:
        logger.warning("%s cannot be kept within %d bytes: %s", target.parent, most, error)
        return file, 0


def _trimmed(folder: Path, most: int, now: Callable[[], float] = time.time) -> int:
    """Drop what was not used for longest, until the rest fits; and drafts that their makers have left. How many variants went."""
    found: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another process drops things too
            status = path.stat()
            if path.suffix == SUFFIX:
                found.append((status.st_mtime, status.st_size + OVERHEAD, path))
            elif path.suffix == DRAFT and now() - status.st_mtime > ABANDONED:
                path.unlink()
    total, gone = sum(size for _, size, _ in found), 0
    for _, size, path in sorted(found):
        if total <= most:
            break
        path.unlink(missing_ok=True)
        total, gone = total - size, gone + 1
    return gone
