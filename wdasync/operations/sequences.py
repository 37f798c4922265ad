"""Several operations, one on the output of the other, as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from ..buffers import Segment
from ..errors import InvalidArgument
from .base import Kind, Operation
from .keys import Key

if TYPE_CHECKING:
    from ..backend import Device

__all__ = ["LOOKING", "STEPS", "Sequence"]

#: Kinds that look at their input, and hand it on as it is.
LOOKING: Final = frozenset({Kind.CHECKSUM, Kind.DIGEST, Kind.MAC})

#: Kinds that may be a step.
STEPS: Final = LOOKING | {
    Kind.COMPRESS,
    Kind.DECOMPRESS,
    Kind.ENCRYPT,
    Kind.DECRYPT,
    Kind.SEAL,
    Kind.OPEN,
}


class Sequence(Operation):
    """Several operations, each on the output of the one before. The output is that of the last step that makes one.

    A checksum, digest or code hands its input on; what it found is in :attr:`seen`. If a step fails, those after it do not
    begin, and the completion has its status, and its number in ``detail.step``.

    :param data: bytes-like, or a list of them
    :param steps: operations whose own input is empty, and whose output the framework owns
    :ivar steps: the operations
    :ivar seen: for each step what it found, if it only looks; else ``None``. The device puts it there before it completes
    :raises InvalidArgument: if there is no step, or one that cannot be
    """

    __slots__ = ("key", "seen", "steps")
    kind = Kind.SEQUENCE

    steps: tuple[Operation, ...]
    seen: list[bytes | None]
    key: Key | None

    def __init__(self, data: object, steps: Iterable[Operation]) -> None:
        self.steps = tuple(steps)
        if not self.steps:
            raise InvalidArgument("steps: expected at least one operation, got none")
        keyed = []
        for step in self.steps:
            if step.kind not in STEPS or step.nbytes or step.destination is not None:
                raise self._refused(step)
            if step.key is not None:
                keyed.append(step)
        self.seen = [None] * len(self.steps)
        self.key = _Keys(keyed) if keyed else None
        self._begin(data, "sequence")

    def _refused(self, step: Operation) -> InvalidArgument:
        number = self.steps.index(step) + 1
        if step.kind not in STEPS:
            return InvalidArgument(f"step {number}: expected an operation on data, got {step!r}")
        return InvalidArgument(f"step {number}: expected no input and no buffer of its own, got {step!r}")

    def feed(self, number: int, data: Segment | tuple[Segment, ...] | None = None) -> Operation:
        """A step, with its input: the sequence's own, or what the step before made.

        :param number: from 0
        """
        step = self.steps[number]
        if data is None:
            step.source, step.nbytes, step.immutable = self.source, self.nbytes, self.immutable
            step.paged = self.paged
        else:
            step.source, step.immutable, step.paged = data, True, None
            step.nbytes = sum(map(len, data)) if isinstance(data, tuple) else len(data)
        return step

    def starve(self, number: int) -> None:
        """A step has ended: it holds its input no more."""
        step = self.steps[number]
        step.source, step.paged = b"", None

    def release(self) -> None:
        """The input, wherever it is."""
        for number in range(len(self.steps)):
            self.starve(number)
        super().release()


class _Keys(Key):
    """All keys of a sequence, as one: what is asked of it is asked of each."""

    __slots__ = ("_keys", "_steps")

    def __init__(self, steps: list[Operation]) -> None:
        super().__init__(None, "the keys of a sequence")
        self._steps = steps
        self._keys = tuple([step.key for step in steps])

    @property
    def parts(self) -> tuple[Key, ...]:
        """The keys."""
        return self._keys

    def bind(self, operation: Operation, device: Device, era: int) -> bool:
        """Each step gets what the device knows of its key. There is nothing for the sequence itself."""
        del operation
        return all(key.bind(step, device, era) for key, step in zip(self._keys, self._steps, strict=True))

    def session(self, device: Device, algorithm: str, era: int = 0) -> Any:
        """Tell the device of each key, and each step what came of it."""
        del algorithm
        for key, step in zip(self._keys, self._steps, strict=True):
            step.session = key.session(device, step.algorithm, era)

    def check(self) -> None:
        """Whether a new operation may use all of them."""
        for key in self._keys:
            key.check()

    def begin(self) -> None:
        """An operation begins to use all of them."""
        begun = 0
        try:
            for key in self._keys:
                key.begin()
                begun += 1
        except BaseException:
            for key in self._keys[:begun]:
                key.end()
            raise

    def end(self) -> None:
        """An operation uses them no more."""
        for key in self._keys:
            key.end()
