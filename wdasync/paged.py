"""Memory whose pages come when a device touches them."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from .errors import InvalidArgument, PageFaultError
from .faults import serving_fault

__all__ = ["PagedBuffer", "Pager"]

#: The least page: what a device's translation unit and the processor agree on.
PAGE: Final = 4096

#: Pages asked for at once when all of them are wanted before a device begins.
FETCHES: Final = 8

#: Supplies bytes: ``async def pager(offset, length) -> bytes``, exactly ``length`` of them.
Pager = Callable[[int, int], Awaitable[bytes]]


class PagedBuffer:
    """An input whose pages an async function supplies on first touch.

    A device that takes page faults reads it as it goes, and only the pages that it touches are asked for. For any other
    device all pages are fetched before it begins; :attr:`Result.paging <wdasync.Result.paging>` says which it was. It is
    no bytes-like object on purpose: a thread that holds the interpreter's lock must not run into a page that is not there.

    The pager is called once for a page, at most; again only if it raised, or was cancelled. It may use the accelerator. While
    pages are missing, the buffer is for one event loop at a time.

    :param length: bytes
    :param pager: ``async def pager(offset, length) -> bytes``; ``offset`` is a multiple of ``page_size``, ``length`` is
        ``page_size``, or less for the last page
    :param page_size: bytes; a power of two, at least 4096
    :raises InvalidArgument: if one of them cannot be right
    """

    def __init__(self, length: int, pager: Pager, *, page_size: int = PAGE) -> None:
        if type(length) is not int or length < 0:
            raise InvalidArgument(f"length: expected bytes, an int of at least 0, got {length!r}")
        if not callable(pager):
            raise InvalidArgument(f"pager: expected an async function of (offset, length), got {pager!r}")
        if type(page_size) is not int or page_size < PAGE or page_size & (page_size - 1):
            raise InvalidArgument(f"page_size: expected a power of two, at least {PAGE}, got {page_size!r}")
        self.length = length
        self.page_size = page_size
        self.pages = -(-length // page_size)
        #: The memory itself: whole pages. Bytes of a page that is not present have no meaning.
        self.memory = mmap.mmap(-1, max(self.pages * page_size, PAGE))
        #: Calls of the pager that gave a page.
        self.fetched = 0
        self._pager = pager
        self._present = bytearray(self.pages)
        #: Pages that are being asked for, with the thread that does it.
        self._fetching: dict[int, tuple[anyio.Lock, int]] = {}

    def __repr__(self) -> str:
        return f"<PagedBuffer {self.length} bytes, {self._present.count(1)} of {self.pages} pages present>"

    def __len__(self) -> int:
        return self.length

    @property
    def is_complete(self) -> bool:
        """Whether all pages are in the memory."""
        return 0 not in self._present

    def is_present(self, page: int) -> bool:
        """Whether this page is in the memory."""
        return bool(self._present[page])

    async def fetch(self, page: int) -> None:
        """See to it that a page is in the memory. Many may ask at once; the pager is called once.

        :param page: number of the page, from 0
        :raises PageFaultError: if the pager raised, or gave another number of bytes; or an event loop in another thread is
            waiting for the page
        """
        if self._present[page]:
            return
        here = threading.get_ident()
        lock, thread = self._fetching.setdefault(page, (anyio.Lock(fast_acquire=True), here))
        if thread != here:
            raise PageFaultError(
                f"{self!r}: expected one event loop at a time, got page {page} asked for in thread {here} while thread "
                f"{thread} asks its pager for it; give each its own buffer, or await fetch_all() first"
            )
        try:
            async with lock:
                if not self._present[page]:
                    self._write(page, await self._ask(page))
                    self._present[page] = True
                    self.fetched += 1
        finally:
            if not lock.locked():  # nobody waits for it
                self._fetching.pop(page, None)

    async def fetch_all(self, *, each: float | None = None) -> None:
        """See to it that every page is in the memory, a few at a time.

        :param each: seconds that one page may take; ``None``: for ever
        :raises PageFaultError: as :meth:`fetch`, for the first page that could not be had; later ones are not asked for
        """
        missing = iter([page for page in range(self.pages) if not self._present[page]])
        failures: list[PageFaultError] = []

        async def work() -> None:
            for page in missing:
                scope = anyio.move_on_after(each)
                try:
                    with scope:
                        await self.fetch(page)
                except PageFaultError as error:
                    failures.append(error)
                if scope.cancelled_caught:
                    failures.append(
                        PageFaultError(
                            f"{self!r}: expected page {page} within {each:g} s, and the pager still waits; raise `deadline`"
                        )
                    )
                if failures:
                    return

        async with anyio.create_task_group() as group:
            for _ in range(min(FETCHES, self.pages)):
                group.start_soon(work)
        if failures:
            raise failures[0]

    def view(self) -> memoryview:
        """The bytes, once all of them are there. Read-only.

        :raises PageFaultError: if a page is not
        """
        missing = self._present.find(0)
        if missing >= 0:
            raise PageFaultError(
                f"{self!r}: expected all pages, page {missing} is absent; await fetch_all() first"
            )
        return memoryview(self.memory)[: self.length].toreadonly()

    async def _ask(self, page: int) -> bytes:
        offset = page * self.page_size
        length = min(self.page_size, self.length - offset)
        token = serving_fault.set(True)
        try:
            data = await self._pager(offset, length)
        except Exception as error:
            raise PageFaultError(
                f"{self!r}: the pager raised {type(error).__name__} for {length} bytes at {offset}: {error}"
            ) from error
        finally:
            serving_fault.reset(token)
        if (got := _size(data)) != length:
            raise PageFaultError(
                f"{self!r}: expected {length} bytes at {offset} from the pager, got {got}; return exactly so many"
            )
        return data

    def _write(self, page: int, data: bytes) -> None:
        start = page * self.page_size
        self.memory[start : start + len(data)] = data


def _size(data: object) -> int | str:
    """How many bytes it is; of what is no bytes, what it is."""
    return memoryview(data).nbytes if isinstance(data, bytes | bytearray | memoryview) else f"{data!r:.60}"
