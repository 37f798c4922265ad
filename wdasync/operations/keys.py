"""Keys, as operations carry them and as devices are told of them.

A key belongs to the program and not to a device. Where an operation with a key goes, the framework opens a session of
the key on that device, once, and hands it over in the operation's ``session``. So the operation stays stateless: it can go
elsewhere when a device fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument, InvalidState, UnsupportedOperation
from .base import Operation

if TYPE_CHECKING:
    from ..backend import Device, KeySession

__all__ = ["Key", "KeySpec", "KeyedOperation"]


@dataclass(frozen=True, slots=True, eq=False)
class KeySpec:
    """What a device is told of a key when a session of it is opened there.

    :ivar algorithm: as the capability table names it
    :ivar material: a secret's bytes, or a key object of the package `cryptography`; never printed
    """

    algorithm: str
    material: Any = field(repr=False)


class Key:
    """A key of a program: its material, its sessions on devices, and whether it may still be used.

    A secret's bytes are copied, and wiped when the key is forgotten: after :meth:`revoke`, once nothing uses it, and when
    nobody holds it any more. One thread uses it.

    :param material: a secret's bytes, or a key object of the package `cryptography`
    :param name: for people
    :ivar name: for people, such as ``RSA private key, 2048 bits``
    :ivar revoked: no new operation may use it
    :ivar in_flight: how many use it now: operations on devices, and callers that wait for one
    :ivar on_wiped: all are called once it is forgotten
    """

    __slots__ = ("__weakref__", "_material", "_sessions", "in_flight", "name", "on_wiped", "revoked")

    def __init__(self, material: object, name: str) -> None:
        self._material: object = (
            bytearray(material) if isinstance(material, bytes | bytearray | memoryview) else material
        )
        self._sessions: dict[tuple[int, str], tuple[Device, int, KeySession]] = {}
        self.name = name
        self.revoked = False
        self.in_flight = 0
        self.on_wiped: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<{self.name}{', revoked' if self.revoked else ''}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r}: expected no copy of a key, got a request for one; pass the handle")

    def __del__(self) -> None:
        if hasattr(self, "on_wiped"):
            self._wipe()

    @property
    def parts(self) -> tuple[Key, ...]:
        """Itself; of what stands for several, these."""
        return (self,)

    @property
    def material(self) -> Any:
        """A secret's bytes, or a key object of the package `cryptography`.

        :raises InvalidState: it is revoked, and nothing uses it
        """
        if self._material is None:
            raise self._gone()
        return self._material

    def _gone(self) -> InvalidState:
        return InvalidState(f"{self!r}: expected a key in use, got one that was revoked; make a new one")

    def known(self, device: Device, algorithm: str, era: int) -> KeySession | None:
        """What a device knows of it already."""
        known = self._sessions.get((id(device), algorithm))
        return known[2] if known is not None and known[1] == era else None

    def bind(self, operation: Operation, device: Device, era: int) -> bool:
        """Put what a device knows of it into an operation. False: it has to be told first, by :meth:`session`."""
        operation.session = self.known(device, operation.algorithm, era)
        return operation.session is not None

    def session(self, device: Device, algorithm: str, era: int = 0) -> KeySession:
        """What a device knows of it; told now, if this is the first time.

        :param era: how often the device was lost: after that it knows nothing any more
        :raises UnsupportedOperation: the device cannot have it
        :raises InvalidState: it is revoked, and nothing uses it
        """
        if (told := self.known(device, algorithm, era)) is not None:
            return told
        at = (id(device), algorithm)
        known = self._sessions.get(at)
        spec = KeySpec(algorithm, self.material)
        if known is not None:
            del self._sessions[at]
            known[2].close()
        open_key = getattr(device, "open_key", None)
        if open_key is None:
            raise UnsupportedOperation(f"{device.info.name} takes no keys")
        session: KeySession = open_key(spec)
        self._sessions[at] = (device, era, session)
        return session

    def forget(self, device: Device) -> None:
        """The device is about to be closed: it must know nothing of it any more. Nothing of it is in flight there."""
        for at in [at for at in self._sessions if at[0] == id(device)]:
            self._sessions.pop(at)[2].close()

    def use(self) -> None:
        """A caller begins to use it for a new operation.

        :raises InvalidState: it is revoked
        """
        if self.revoked:
            raise self._gone()
        self.in_flight += 1

    def begin(self) -> None:
        """An operation begins to use it.

        :raises InvalidState: it is revoked, and nothing else uses it that began before
        """
        if self.revoked and not self.in_flight:
            raise self._gone()
        self.in_flight += 1

    def end(self) -> None:
        """An operation uses it no more. The last one of a revoked key wipes it."""
        self.in_flight -= 1
        if self.revoked and not self.in_flight:
            self._wipe()

    def check(self) -> None:
        """Whether a new operation may use it.

        :raises InvalidState: it is revoked
        """
        if self.revoked:
            raise self._gone()

    def revoke(self) -> None:
        """No new operation may use it; what is in flight finishes, and then everybody forgets it. Idempotent."""
        self.revoked = True
        if not self.in_flight:
            self._wipe()

    def _wipe(self) -> None:
        while self._sessions:
            self._sessions.popitem()[1][2].close()
        if isinstance(self._material, bytearray):
            self._material[:] = bytes(len(self._material))
        self._material = None
        while self.on_wiped:
            self.on_wiped.pop()()


class KeyedOperation(Operation):
    """An operation with a key.

    :ivar key: the key
    """

    __slots__ = ("key",)  # pyright: ignore[reportIncompatibleVariableOverride]  # never without one

    key: Key

    def _take_key(self, key: object) -> None:
        """Before anything of the caller's is pinned."""
        if not isinstance(key, Key):
            raise InvalidArgument(f"key: expected a Key, got {type(key).__name__}; make one of it")
        self.key = key

    @property
    def stateless(self) -> bool:
        """Always: a key's session has no state that an operation changes."""
        return True
