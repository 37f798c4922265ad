"""Page faults of operations whose input comes in pages.

The native side gives such an operation memory of its own, which only the worker that runs it can touch, and a touch
of a page that is absent parks that worker in the kernel (``native/region.h``). Here the pager is awaited for the
page. Pages that have come are copied along with it, as far as that is cheap: for them nobody has to be asked, so they
are no faults.

The kernel must allow ``userfaultfd(2)`` for faults of user space. Where it does not, the device takes no such
operations, and the framework fetches all pages before it submits one.
"""

from __future__ import annotations

import errno
import itertools
import logging
import threading
import time
from collections.abc import Mapping
from typing import Final

import anyio
import anyio.lowlevel

from wdasync.errors import PageFaultError
from wdasync.faults import Access, FaultReporter, FaultResponse, PageFault
from wdasync.paged import PagedBuffer

from . import binding

__all__ = ["ADVICE", "FaultLine", "problem"]

logger = logging.getLogger("wdasync.cpu")

#: Bytes that are copied for one fault, at most: more would hold up the event loop.
COPY: Final = 256 * 1024

#: Error number of ``userfaultfd`` -> what to do.
ADVICE: Final[Mapping[int, str]] = {
    errno.EPERM: "in a container, allow the system call userfaultfd (seccomp)",
    errno.ENOSYS: "use a kernel with CONFIG_USERFAULTFD; in a sandbox, allow the system call userfaultfd",
    errno.EINVAL: "use Linux 5.11 or later",
}


def problem() -> OSError | None:
    """Why there can be no fault line; ``None``: there can."""
    try:
        FaultLine("", 0.0, None).close()
    except OSError as error:
        return error
    return None


class FaultLine:
    """The page faults of one device.

    :param device: its name, for reports
    :param deadline: seconds that a pager may take; 0: for ever
    :param report: is told of each fault after it was answered
    :ivar line: the C side's handle
    :raises OSError: the kernel refuses
    """

    def __init__(self, device: str, deadline: float, report: FaultReporter | None) -> None:
        self.line, self._descriptor = binding.open_line()
        self._next, self._supply, self._refuse, self._close = binding.methods(self.line)
        self._device = device
        self._deadline = deadline or None
        self._report = report
        self._tags = itertools.count(1)
        self._lock = threading.Lock()
        self._serving = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<FaultLine of {self._device}{' closed' if self._closed else ''}>"

    async def serve(self) -> None:
        """Answer faults, each in a task of its own, until it is cancelled. What has no answer then is refused."""
        with self._lock:
            self._serving += 1
        try:
            async with anyio.create_task_group() as pagers:
                while not self._closed:
                    await anyio.wait_readable(self._descriptor)
                    while (touch := self._next()) is not None:
                        number, buffer, offset = touch
                        if buffer.is_present(offset // buffer.page_size):
                            self._copy(number, buffer, offset, asked=False)
                        else:
                            pagers.start_soon(self._fetch, number, buffer, offset)
            await anyio.sleep_forever()
        finally:
            with self._lock:
                self._serving -= 1
                self._close_if_idle()

    def close(self) -> None:
        """No operation is in flight any more. While somebody waits for the descriptor, it stays open."""
        with self._lock:
            self._closed = True
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._closed and not self._serving:
            self._close()

    async def _fetch(self, number: int, buffer: PagedBuffer, offset: int) -> None:
        """One fault, from the pager to the answer."""
        page = offset // buffer.page_size
        fault = PageFault(
            self._device, offset, Access.READ, None, next(self._tags), page_size=buffer.page_size
        )
        started = time.monotonic()
        why = f"{buffer!r}: the pager was cancelled at page {page}"
        try:
            with anyio.move_on_after(self._deadline) as scope:
                await buffer.fetch(page)
            if scope.cancelled_caught:
                why = f"{buffer!r}: expected page {page} within {self._deadline:g} s, and the pager still waits; raise fault_deadline"
        except anyio.get_cancelled_exc_class():
            # Of this task, or of something that the pager waits for: then other faults are still to be answered.
            await anyio.lowlevel.checkpoint_if_cancelled()
        except PageFaultError as error:
            why = str(error)
        except BaseException as error:  # whatever it is, other faults are still to be answered
            logger.exception("page %d of %r cannot be fetched", page, buffer)
            why = f"{buffer!r}: page {page}: {type(error).__name__}: {error}"
        finally:
            good = buffer.is_present(page)
            if good:
                good = self._copy(number, buffer, offset, asked=True)
            else:
                self._refuse(number, why)
            if self._report is not None:
                response = FaultResponse.SUCCESS if good else FaultResponse.INVALID
                self._report(fault._replace(response=response, latency=time.monotonic() - started))

    def _copy(self, number: int, buffer: PagedBuffer, offset: int, *, asked: bool) -> bool:
        """The page at ``offset``, and those behind it that have come. False: it was refused, because the kernel cannot."""
        page = offset // buffer.page_size
        end = (page + 1) * buffer.page_size
        while end - offset < COPY and end < buffer.length and buffer.is_present(end // buffer.page_size):
            end += buffer.page_size
        if self._supply(number, offset, min(end - offset, COPY), asked):
            return True
        why = f"{buffer!r}: page {page} has come, but the kernel gives the worker no memory for it; raise its limit"
        return not self._refuse(number, why)  # nor can it refuse what is over
