"""What users hold of a key: usable by any task of one accelerator, on all its devices, until it is revoked."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

import anyio

from .backend import Completion
from .errors import InvalidArgument
from .operations import Key, KeyedOperation, Priority

if TYPE_CHECKING:
    from .execution import Execution

__all__ = ["KeyHandle"]


class KeyHandle:
    """The common part of all handles of keys. Made by :class:`~wdasync.Accelerator`, not by users.

    Any number of tasks may use it at once. A secret is copied into memory of the handle's, is told to a device when it is
    first needed there, is never printed, logged or pickled, and is wiped where Python lets us when the handle is revoked or
    forgotten. A secret's other copies, such as the one it was made of, are the caller's matter.

    Its coroutines raise what those of :class:`~wdasync.Accelerator` raise, and :exc:`InvalidState` when it is revoked.
    """

    def __init__(self, execution: Execution, key: Key, algorithm: str) -> None:
        self._execution = execution
        self._key = key
        self._algorithm = algorithm

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._key!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} can be neither copied nor pickled: it holds a secret")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def algorithm(self) -> str:
        """As the capability tables name it."""
        return self._algorithm

    @property
    def revoked(self) -> bool:
        """Whether no new operation may use it."""
        return self._key.revoked

    def key_for(self, execution: Execution) -> Key:
        """The key, for an operation of the same accelerator.

        :raises InvalidArgument: if it is another's
        """
        if execution is not self._execution:
            raise InvalidArgument(f"key: expected a handle of the same accelerator, got {self!r} of another")
        return self._key

    def revoke(self) -> None:
        """No new operation may use it. What is in flight finishes; then every device forgets it, and it is wiped.

        Does not wait; :meth:`aclose` does. Idempotent.
        """
        self._key.revoke()

    async def aclose(self) -> None:
        """Revoke it, and wait until it is wiped. To cancel this does not undo it. Idempotent."""
        key = self._key
        if key.in_flight:
            self._execution.check_loop()
            wiped = anyio.Event()
            key.on_wiped.append(wiped.set)
            key.revoke()
            await wiped.wait()
        else:
            key.revoke()

    async def _run(self, operation: KeyedOperation, timeout: float | None, priority: Priority) -> Completion:
        return await self._execution.run(operation, timeout, priority)
