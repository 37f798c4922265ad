"""Sequences: several operations in one go, each on what the one before made.

Where a device can do a sequence as a whole, nothing of what lies between its steps passes through the event loop. Elsewhere the
steps are sent one after another, each where the schedule wants it, and what lies between them is handed on and not copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Self

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
    Level,
    Mac,
    Open,
    Operation,
    Priority,
    Recipe,
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
        self._steps: list[Operation] = []
        self._wanting: list[int] = []  # steps for which run() is given a nonce
        self._handles: list[Aead | Cipher] = []  # of these steps
        self._lengths: list[int] = []  # of the last nonces that were good
        self._recipe: Recipe | None = None  # of all these, once somebody runs them
        self._once = False  # a step has a nonce that must not be used again
        self._used = False
        self._able: dict[Place, bool] = {}
        self._plain: tuple[Priority, int] | None = (
            None  # where and when one device did all of it, and there was no other
        )

    def __repr__(self) -> str:
        steps = ", ".join(f"{step.kind.name.lower()} {step.algorithm}" for step in self._steps)
        return f"<OperationSequence {steps or 'without steps'}>"

    def _add(self, step: Operation) -> Self:
        """Add a step. Its arguments were checked; whether anybody can do it is checked now."""
        self._execution.schedule.check(step)
        self._steps.append(step)
        self._recipe = None
        self._able.clear()
        self._plain = None
        return self

    def _nonces(self, given: Iterable[Source]) -> tuple[bytes, ...]:
        """Those of one run, copied where the caller could change them.

        :raises InvalidArgument: if there are not as many as steps that want one, or they are none
        """
        try:
            each = iter(given)
        except TypeError:
            raise InvalidArgument(f"nonces: expected a list of them, got {type(given).__name__}") from None
        nonces = tuple(each)
        if len(nonces) != len(self._wanting):
            raise InvalidArgument(
                f"nonces: expected {len(self._wanting)}, one for each step that was added without one, got {len(nonces)}"
            )
        for nonce, length in zip(nonces, self._lengths, strict=True):
            if type(nonce) is not bytes or len(nonce) != length:
                return self._checked(nonces)
        return nonces  # type: ignore[return-value]  # bytes, and as long as they were

    def _checked(self, nonces: Iterable[Source]) -> tuple[bytes, ...]:
        own = tuple([short(nonce, "nonces") for nonce in nonces])
        for nonce, handle in zip(own, self._handles, strict=True):
            _refuse(handle.nonce_problem(len(nonce)))
        self._lengths = [len(nonce) for nonce in own]
        return own

    # -- steps ------------------------------------------------------------------------------------------------

    def compress(self, algorithm: str = "gzip", *, level: Level | None = None) -> Self:
        """See :meth:`Accelerator.compress() <wdasync.Accelerator.compress>`."""
        return self._add(Compress(b"", algorithm, level=self._level if level is None else level))

    def decompress(self, algorithm: str = "gzip", *, max_length: int | None = None) -> Self:
        """See :meth:`Accelerator.decompress() <wdasync.Accelerator.decompress>`."""
        bound = self._max_length if max_length is None else max_length
        return self._add(Decompress(b"", algorithm, max_length=bound))

    def crc32(self) -> Self:
        """Look at the data: its CRC-32."""
        return self._add(Checksum(b"", "crc32"))

    def crc32c(self) -> Self:
        """Look at the data: its CRC-32C."""
        return self._add(Checksum(b"", "crc32c"))

    def adler32(self) -> Self:
        """Look at the data: its Adler-32."""
        return self._add(Checksum(b"", "adler32"))

    def digest(self, algorithm: str = "sha256") -> Self:
        """Look at the data: its digest."""
        return self._add(Digest(b"", algorithm))

    def mac(self, key: MacKey) -> Self:
        """Look at the data: its message authentication code.

        :param key: of the same accelerator
        """
        return self._add(Mac(self._of(key, MacKey), b"", key.algorithm))

    def encrypt(
        self, key: Aead | Cipher, nonce: Source | None = None, associated_data: Source | None = None
    ) -> Self:
        """Encrypt the data.

        :param key: of the same accelerator
        :param nonce: or initialisation vector; default: :meth:`run` is given another one each time
        :param associated_data: with an :class:`~wdasync.Aead`
        """
        self._cipher(key, nonce, associated_data, Seal, Encrypt)
        self._once = self._once or (nonce is not None and isinstance(key, Aead))
        return self

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
        """Add a step with a key. Its nonce and associated data are copies: the caller may go on with memory of theirs."""
        secret = self._of(key, (Aead, Cipher))
        own = b"" if nonce is None else short(nonce, "nonce")
        if nonce is not None:
            _refuse(key.nonce_problem(len(own)))
        step: Operation
        if isinstance(key, Aead):
            header = b"" if aad is None else short(aad, "associated_data")
            step = sealing(secret, own, b"", key.algorithm, aad=header, tag_length=key.tag_length)
        elif aad is not None:
            raise InvalidArgument("associated_data: expected none with a cipher that authenticates nothing")
        else:
            step = plain(secret, b"", key.algorithm, iv=own)
        self._add(step)
        if nonce is None:
            self._wanting.append(len(self._steps) - 1)
            self._handles.append(key)
            self._lengths.append(-1)
        return self

    def _of(self, handle: object, kinds: type[MacKey] | tuple[type[Aead], type[Cipher]]) -> Key:
        if not isinstance(handle, kinds):
            raise InvalidArgument(f"key: expected a handle of an accelerator, got {type(handle).__name__}")
        return handle.key_for(self._execution)

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
        recipe = self._recipe
        if recipe is None:
            recipe = self._recipe = Recipe(self._steps, self._wanting)
        operation = Sequence(data, recipe, self._nonces(nonces))
        if self._once:
            self._use_once(operation, timeout, priority)
        if self._whole(operation, priority):
            output = (await self._execution.run(operation, timeout, priority)).output or b""
        else:
            output = await self._one_by_one(operation, timeout, priority)
        seen: list[Any] = operation.seen
        for number in recipe.sums:
            seen[number] = int.from_bytes(seen[number] or b"", "big")
        return SequenceResult(output, tuple(seen))

    def _use_once(self, operation: Sequence, timeout: float | None, priority: Priority) -> None:
        """One of its nonces must not be used again. It is not, if nobody may run it here and now."""
        self._check(operation, timeout)
        try:
            if operation.key is not None:
                operation.key.check()
            for step in operation.steps:
                self._execution.schedule.route(step, priority)
        except WdasyncError:
            operation.release()
            raise
        if self._used:
            operation.release()
            raise InvalidState(
                f"{self!r}: expected a nonce that was not used, got it again; make another sequence"
            )
        self._used = True

    def _check(self, operation: Sequence, timeout: float | None) -> None:
        try:
            self._execution.check(timeout)
        except WdasyncError:
            operation.release()
            raise

    def _whole(self, operation: Sequence, priority: Priority) -> bool:
        """Whether one device does all of it: it can, and no step would go to another backend by itself."""
        schedule, plain = self._execution.schedule, self._plain
        if plain is not None and plain[0] is priority and plain[1] == schedule.epoch:
            return True
        try:
            lane = schedule.route(operation, priority).lane
        except WdasyncError:
            return False  # nobody does sequences
        if lane is not None and schedule.backends == 1:
            whole = self._has_rows(schedule.place_of(lane))
            self._plain = (priority, schedule.epoch) if whole else None
            return whole
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
            yield from self._execution.schedule.able(operation.feed(number), priority)[:1]

    async def _one_by_one(self, operation: Sequence, timeout: float | None, priority: Priority) -> bytes:
        """Each step where it would rather go, on the memory that the one before has left its output in."""
        self._check(operation, timeout)
        data: bytes | None = None
        number, chain = 0, Chain()
        if (key := operation.key) is not None:
            try:
                key.use()
            except InvalidState:
                operation.release()
                raise
        try:
            with within(timeout, operation):
                for number, kind in enumerate([step.kind for step in operation.steps]):
                    output = await self._step(operation, number, data, chain, priority)
                    if kind in LOOKING:
                        operation.seen[number] = output
                    else:
                        data = output or b""
        except WdasyncError as error:
            error.args = (f"step {number + 1} of {len(operation.steps)}: {error}", *error.args[1:])
            raise
        finally:
            chain.close()
            operation.release()
            if key is not None:
                key.end()
        return data or b""

    async def _step(
        self, operation: Sequence, number: int, data: bytes | None, chain: Chain, priority: Priority
    ) -> bytes | None:
        """The output of a step. After one that makes something, nobody needs what it was made of."""
        step = operation.feed(number, data)
        step.chain = chain
        before = 0 if step.kind in LOOKING else len(chain)
        done = await self._execution.run(step, None, priority)
        chain.release(before)
        return done.output


def _refuse(problem: str) -> None:
    if problem:
        raise InvalidArgument(problem)
