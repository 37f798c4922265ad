"""Several operations, one on the output of the other, as one."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import TYPE_CHECKING, Any, Final

from ..buffers import Segment
from ..errors import InvalidArgument
from .base import Kind, Operation
from .ciphers import Decrypt, Encrypt, Open, Seal
from .keys import Key

if TYPE_CHECKING:
    from ..backend import Device, KeySession

__all__ = ["LOOKING", "STEPS", "Recipe", "Sequence"]

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

#: Of these, kinds with a nonce or an initialisation vector.
_NONCED: Final = frozenset({Kind.ENCRYPT, Kind.DECRYPT, Kind.SEAL, Kind.OPEN})


class Recipe:
    """What sequences have in common that differ in nothing but their input and their nonces. Made once, and never changed.

    :param steps: operations whose own input is empty, and whose output the framework owns
    :param wanting: numbers of the steps that take a nonce, or initialisation vector, of each sequence; from 0, ascending
    :ivar steps: the operations
    :ivar wanting: the numbers
    :ivar key: stands for the keys of all steps; ``None``: none has one
    :ivar sessions: for each step what it was given of its key when it was made
    :ivar sums: numbers of the steps that look for a checksum
    :ivar prepared: what devices have made of it, each under a key of its own
    :raises InvalidArgument: if there is no step, or one that cannot be; or ``wanting`` says something else
    """

    __slots__ = ("key", "prepared", "sessions", "steps", "sums", "wanting")

    def __init__(self, steps: Iterable[Operation], wanting: Iterable[int] = ()) -> None:
        self.steps = tuple(steps)
        self.wanting = tuple(wanting)
        if not self.steps:
            raise InvalidArgument("steps: expected at least one operation, got none")
        for number, step in enumerate(self.steps, 1):
            if step.kind not in STEPS:
                raise InvalidArgument(f"step {number}: expected an operation on data, got {step!r}")
            if step.nbytes or step.destination is not None:
                raise InvalidArgument(
                    f"step {number}: expected no input and no buffer of its own, got {step!r}"
                )
        last = -1
        for number in self.wanting:
            if type(number) is not int or not last < number < len(self.steps):
                raise InvalidArgument(
                    f"wanting: expected numbers of steps, from 0 to {len(self.steps) - 1} and ascending, got {self.wanting!r}"
                )
            if self.steps[number].kind not in _NONCED:
                raise InvalidArgument(
                    f"wanting: expected steps that encrypt or decrypt, got {self.steps[number]!r}"
                )
            last = number
        self.sums = tuple([number for number, step in enumerate(self.steps) if step.kind is Kind.CHECKSUM])
        self.sessions: tuple[Any, ...] = tuple([step.session for step in self.steps])
        self.key = _Keys(self.steps) if any(step.key is not None for step in self.steps) else None
        self.prepared: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"<Recipe {', '.join(f'{step.kind.name.lower()} {step.algorithm}' for step in self.steps)}>"


class Sequence(Operation):
    """Several operations, each on the output of the one before. The output is that of the last step that makes one.

    A checksum, digest or code hands its input on; what it found is in :attr:`seen`. If a step fails, those after it do not
    begin, and the completion has its status, and its number in ``detail.step``.

    A device that does the steps one after another asks :meth:`feed` for each. One that can do all of them at once may keep what it
    made of the recipe there, for the next sequence of it.

    :param data: bytes-like, or a list of them
    :param steps: a recipe, or operations for one of its own
    :param nonces: one for each step that the recipe wants one for
    :ivar recipe: what is done
    :ivar nonces: bytes, which nobody has checked: a device does
    :ivar sessions: for each step what its device made of its key; ``None``: it has none
    :ivar seen: for each step what it found, if it only looks; else ``None``. The device puts it there before it completes
    :raises InvalidArgument: if there is no step, or one that cannot be; or another number of nonces
    """

    __slots__ = ("key", "nonces", "recipe", "seen", "sessions")
    kind = Kind.SEQUENCE

    recipe: Recipe
    nonces: tuple[bytes, ...]
    sessions: tuple[KeySession | None, ...]
    seen: list[bytes | None]
    key: Key | None

    def __init__(
        self, data: object, steps: Recipe | Iterable[Operation], nonces: tuple[bytes, ...] = ()
    ) -> None:
        recipe = self.recipe = steps if type(steps) is Recipe else Recipe(steps)  # type: ignore[arg-type]  # else operations
        if len(nonces) != len(recipe.wanting):
            raise InvalidArgument(
                f"nonces: expected {len(recipe.wanting)}, one for each step that was added without one, got {len(nonces)}"
            )
        self.nonces = nonces
        self.sessions = recipe.sessions
        self.seen = [None] * len(recipe.steps)
        self.key = recipe.key
        self._begin(data, "sequence")

    @property
    def steps(self) -> tuple[Operation, ...]:
        """The recipe's: not to be changed, and without an input. See :meth:`feed`."""
        return self.recipe.steps

    def feed(self, number: int, data: Segment | tuple[Segment, ...] | None = None) -> Operation:
        """A step as an operation of its own, with its key's session, its nonce, and its input.

        :param number: from 0
        :param data: what the step before made; ``None``: the sequence's own input
        """
        step = copy(self.recipe.steps[number])
        step.session = self.sessions[number]
        if number in self.recipe.wanting:
            nonce = self.nonces[self.recipe.wanting.index(number)]
            if isinstance(step, Seal | Open):
                step.nonce = nonce
            elif isinstance(step, Encrypt | Decrypt):
                step.iv = nonce
        if data is None:
            step.source, step.nbytes, step.immutable = self.source, self.nbytes, self.immutable
            step.paged = self.paged
        else:
            step.source, step.immutable = data, True
            step.nbytes = sum(map(len, data)) if isinstance(data, tuple) else len(data)
        return step


class _Keys(Key):
    """All keys of a recipe, as one: what is asked of it is asked of each."""

    __slots__ = ("_bound", "_keys", "_steps")

    def __init__(self, steps: tuple[Operation, ...]) -> None:
        super().__init__(None, "the keys of a sequence")
        self._steps = steps
        self._keys: tuple[Key, ...] = tuple(
            dict.fromkeys([step.key for step in steps if step.key is not None])
        )
        # Device and era that a sequence was bound to last, and what the steps got there: as long as nobody revokes a key, that stays so.
        self._bound: tuple[Device | None, int, tuple[KeySession | None, ...]] = (None, 0, ())

    @property
    def parts(self) -> tuple[Key, ...]:
        """The keys."""
        return self._keys

    def bind(self, operation: Operation, device: Device, era: int) -> bool:
        """Each step gets what the device knows of its key. There is nothing for the sequence itself."""
        assert isinstance(operation, Sequence)
        last, then, sessions = self._bound
        for key in self._keys:
            if key.revoked:
                last = None
        if last is not device or then != era:
            sessions = tuple(
                [
                    None if step.key is None else step.key.known(device, step.algorithm, era)
                    for step in self._steps
                ]
            )
            for step, session in zip(self._steps, sessions, strict=True):
                if step.key is not None and session is None:
                    return False
            self._bound = device, era, sessions
        operation.sessions = sessions
        return True

    def session(self, device: Device, algorithm: str, era: int = 0) -> Any:
        """Tell the device of each key."""
        del algorithm
        for step in self._steps:
            if step.key is not None:
                step.key.session(device, step.algorithm, era)

    def check(self) -> None:
        """Whether a new operation may use all of them."""
        for key in self._keys:
            key.check()

    def use(self) -> None:
        """A caller begins to use all of them, or none."""
        for key in self._keys:
            if key.revoked:
                key.check()
        for key in self._keys:
            key.in_flight += 1

    def begin(self) -> None:
        """An operation begins to use all of them, or none."""
        for key in self._keys:
            if key.revoked and not key.in_flight:
                key.check()
        for key in self._keys:
            key.in_flight += 1

    def end(self) -> None:
        """An operation uses them no more."""
        for key in self._keys:
            key.in_flight -= 1
            if key.revoked:
                key.revoke()  # wipes it, if nothing else uses it
