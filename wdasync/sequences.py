"""Sequences: several operations in one go, each on what the one before made.

Where a device can do a sequence as a whole, nothing of what lies between its steps passes through the event loop. Elsewhere the
steps are sent one after another, each where the schedule wants it, and what lies between them is handed on and not copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Self

from .buffers import short
from .ciphers import Aead, Cipher, MacKey
from .errors import InvalidArgument, InvalidState, WdasyncError
from .execution import within
from .operations import (
    LOOKING,
    Chain,
    Checksum,
    Compress,
    Decompress,
    Decrypt,
    Digest,
    Encrypt,
    Key,
    Kind,
    Level,
    Mac,
    Open,
    Operation,
    Priority,
    Seal,
    Sequence,
)

if TYPE_CHECKING:
    from .buffers import Source
    from .execution import Execution
    from .scheduling import Place

__all__ = ["OperationSequence", "SequenceResult"]


class SequenceResult(NamedTuple):
    """What came of a sequence.

    :ivar output: of the last step that makes one; empty if all only look
    :ivar seen: for each step what it found, if it only looks: a checksum is an int, a digest or code is bytes; else ``None``
    """

    output: bytes
    seen: tuple[int | bytes | None, ...]


#: Makes the operation of a step for one run, with the nonce that the run was given if the step has none of its own. ``None``: there
#: is none yet.
_Maker = Callable[["Source | None"], Operation]


class _Step(NamedTuple):
    """One step.

    :ivar open: it takes a nonce of the run
    """

    kind: Kind
    algorithm: str
    make: _Maker
    open: bool


class OperationSequence:
    """Several operations, each on what the one before made. Made by :class:`~wdasync.Accelerator`, not by users.

    Its methods that name a step add it, and return the sequence. They raise :exc:`InvalidArgument` for an argument that cannot be,
    and :exc:`UnsupportedOperation` for a step that no device can do. :meth:`run` may be called any number of times, by several tasks
    at once; but once only if a step encrypts with an :class:`~wdasync.Aead` and a nonce of its own, which must not be used again: leave
    the nonce to :meth:`run`, which takes another one each time, and make the sequence once.

    If a step fails, none after it begins; the error is the step's, and says which it was. A cancelled :meth:`run` ends the step
    that is under way as any operation ends, and begins no other.
    """

    def __init__(self, execution: Execution, max_length: int, level: Level) -> None:
        self._execution = execution
        self._max_length = max_length
        self._level = level
        self._steps: list[_Step] = []
        self._nonces = 0  # that run() is to be given
        self._once = False  # a step has a nonce that must not be used again
        self._used = False
        self._able: dict[Place, bool] = {}

    def __repr__(self) -> str:
        steps = ", ".join(f"{step.kind.name.lower()} {step.algorithm}" for step in self._steps)
        return f"<OperationSequence {steps or 'without steps'}>"

    def _add(self, make: _Maker, *, open_: bool = False) -> Self:
        """Add a step; its arguments are checked now.

        :param open_: it takes a nonce of :meth:`run`
        """
        step = make(None)
        self._execution.schedule.check(step)
        self._steps.append(_Step(step.kind, step.algorithm, make, open_))
        self._able.clear()
        self._nonces += open_
        self._once = self._once or (step.kind is Kind.SEAL and not open_)
        return self

    def _take(self, nonces: Iterable[Source]) -> list[Operation]:
        """The steps for one run: operations are used once.

        :raises InvalidArgument: if there are not as many nonces as steps that want one
        """
        try:
            given = list(nonces)
        except TypeError:
            raise InvalidArgument(f"nonces: expected a list of them, got {type(nonces).__name__}") from None
        if len(given) != self._nonces:
            raise InvalidArgument(
                f"nonces: expected {self._nonces}, one for each step that was added without one, got {len(given)}"
            )
        if None in given:
            raise InvalidArgument("nonces: expected bytes-like objects, got None")
        given.reverse()
        return [step.make(given.pop() if step.open else None) for step in self._steps]

    # -- steps ------------------------------------------------------------------------------------------------

    def compress(self, algorithm: str = "gzip", *, level: Level | None = None) -> Self:
        """See :meth:`Accelerator.compress() <wdasync.Accelerator.compress>`."""
        chosen = self._level if level is None else level
        return self._add(lambda _: Compress(b"", algorithm, level=chosen))

    def decompress(self, algorithm: str = "gzip", *, max_length: int | None = None) -> Self:
        """See :meth:`Accelerator.decompress() <wdasync.Accelerator.decompress>`."""
        bound = self._max_length if max_length is None else max_length
        return self._add(lambda _: Decompress(b"", algorithm, max_length=bound))

    def crc32(self) -> Self:
        """Look at the data: its CRC-32."""
        return self._add(lambda _: Checksum(b"", "crc32"))

    def crc32c(self) -> Self:
        """Look at the data: its CRC-32C."""
        return self._add(lambda _: Checksum(b"", "crc32c"))

    def adler32(self) -> Self:
        """Look at the data: its Adler-32."""
        return self._add(lambda _: Checksum(b"", "adler32"))

    def digest(self, algorithm: str = "sha256") -> Self:
        """Look at the data: its digest."""
        return self._add(lambda _: Digest(b"", algorithm))

    def mac(self, key: MacKey) -> Self:
        """Look at the data: its message authentication code.

        :param key: of the same accelerator
        """
        secret, algorithm = self._of(key, MacKey)
        return self._add(lambda _: Mac(secret, b"", algorithm))

    def encrypt(
        self, key: Aead | Cipher, nonce: Source | None = None, associated_data: Source | None = None
    ) -> Self:
        """Encrypt the data.

        :param key: of the same accelerator
        :param nonce: or initialisation vector; default: :meth:`run` is given another one each time
        :param associated_data: with an :class:`~wdasync.Aead`
        """
        return self._cipher(key, nonce, associated_data, Seal, Encrypt)

    def decrypt(
        self, key: Aead | Cipher, nonce: Source | None = None, associated_data: Source | None = None
    ) -> Self:
        """Decrypt the data. See :meth:`encrypt`."""
        return self._cipher(key, nonce, associated_data, Open, Decrypt)

    def _cipher(
        self,
        key: Aead | Cipher,
        nonce: Source | None,
        aad: Source | None,
        sealing: type[Seal | Open],
        plain: type[Encrypt | Decrypt],
    ) -> Self:
        secret, algorithm = self._of(key, (Aead, Cipher))
        if isinstance(key, Aead):
            length = key.tag_length
            header = None if aad is None else short(aad, "associated_data")
            # Its nonce and associated data are copies: the caller may go on with memory of theirs.
            made = sealing(secret, nonce or b"", b"", algorithm, aad=header, tag_length=length)
            own, known = None if nonce is None else made.nonce, made.aad

            def seal(given: Source | None) -> Operation:
                chosen = given if own is None else own
                step = sealing(secret, chosen or b"", b"", algorithm, aad=known, tag_length=length)
                return step if chosen is None else _fitting(step, key, len(step.nonce))

            return self._add(seal, open_=nonce is None)
        if aad is not None:
            raise InvalidArgument("associated_data: expected none with a cipher that authenticates nothing")
        iv = None if nonce is None else plain(secret, b"", algorithm, iv=nonce).iv

        def encrypt(given: Source | None) -> Operation:
            chosen = given if iv is None else iv
            step = plain(secret, b"", algorithm, iv=chosen or b"")
            return step if chosen is None else _fitting(step, key, len(step.iv))

        return self._add(encrypt, open_=nonce is None)

    def _of(self, handle: object, kinds: type[MacKey] | tuple[type[Aead], type[Cipher]]) -> tuple[Key, str]:
        if not isinstance(handle, kinds):
            raise InvalidArgument(f"key: expected a handle of an accelerator, got {type(handle).__name__}")
        return handle.key_for(self._execution), handle.algorithm

    # -- running ------------------------------------------------------------------------------------------------

    async def run(
        self,
        data: Source,
        *,
        nonces: Iterable[Source] = (),
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> SequenceResult:
        """Send ``data`` through all steps.

        :param nonces: one for each step that was added without one, in their order; others each time
        :raises ForeignLoopError: in another event loop than its accelerator's
        :raises ClosedResourceError: if its accelerator is closed
        :raises InvalidState: if its nonce was used
        :raises WdasyncError: what the step raises that failed
        """
        execution = self._execution
        execution.check(timeout)
        operation = Sequence(data, self._take(nonces))
        if self._once:
            if self._used:
                operation.release()
                raise InvalidState(
                    f"{self!r}: expected a nonce that was not used, got it again; make another sequence"
                )
            self._used = True
        if self._whole(operation, priority):
            output = (await execution.run(operation, timeout, priority)).output or b""
        else:
            output = await self._one_by_one(operation, timeout, priority)
        return SequenceResult(output, tuple(map(_found, operation.steps, operation.seen)))

    def _whole(self, operation: Sequence, priority: Priority) -> bool:
        """Whether one device does all of it: it can, and no step would go to another backend by itself."""
        schedule = self._execution.schedule
        able = [place for place in schedule.able(operation, priority) if self._has_rows(place)]
        if not able or schedule.backends == 1:
            return bool(able)
        return all(place.backend == able[0].backend for place in self._first(operation, priority))

    def _has_rows(self, place: Place) -> bool:
        """Whether it can do each step. Remembered, until there is one more."""
        known = self._able.get(place)
        if known is None:
            known = self._able[place] = all((step.kind, step.algorithm) in place.rows for step in self._steps)
        return known

    def _first(self, operation: Sequence, priority: Priority) -> Iterator[Place]:
        """Where each step would rather go."""
        for number in range(len(operation.steps)):
            places = self._execution.schedule.able(operation.feed(number), priority)
            operation.starve(number)
            yield from places[:1]

    async def _one_by_one(self, operation: Sequence, timeout: float | None, priority: Priority) -> bytes:
        """Each step where it would rather go, on the memory that the one before has left its output in."""
        data: bytes | None = None
        number, chain = 0, Chain()
        try:
            with within(timeout, operation):
                for number, step in enumerate(operation.steps):
                    step.chain = chain
                    output = await self._step(operation, number, data, priority)
                    if step.kind in LOOKING:
                        operation.seen[number] = output
                    else:
                        data = output or b""
        except WdasyncError as error:
            error.args = (f"step {number + 1} of {len(operation.steps)}: {error}", *error.args[1:])
            raise
        finally:
            chain.close()
            operation.release()
        return data or b""

    async def _step(
        self, operation: Sequence, number: int, data: bytes | None, priority: Priority
    ) -> bytes | None:
        """The output of a step. After one that makes something, nobody needs what it was made of."""
        step = operation.feed(number, data)
        assert step.chain is not None
        before = 0 if step.kind in LOOKING else len(step.chain)
        try:
            done = await self._execution.run(step, None, priority)
        finally:
            operation.starve(number)
        step.chain.release(before)
        return done.output


def _fitting(step: Operation, key: Aead | Cipher, nonce: int) -> Operation:
    """The step, if its nonce is as long as it must be."""
    if problem := key.nonce_problem(nonce):
        raise InvalidArgument(problem)
    return step


def _found(step: Operation, output: bytes | None) -> int | bytes | None:
    return int.from_bytes(output or b"", "big") if step.kind is Kind.CHECKSUM else output
