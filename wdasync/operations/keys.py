"""Keys, as operations carry them and as devices are told of them.

A key belongs to the program and not to a device. Where an operation with a key goes, the framework opens a session of
the key on that device, once, and hands it over in the operation's ``session``. So the operation stays stateless: it can go
elsewhere when a device fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import InvalidState
from .base import Operation

if TYPE_CHECKING:
    from ..backend import Keyed, KeySession

__all__ = ["Key", "KeySpec", "KeyedOperation"]


@dataclass(frozen=True, slots=True)
class KeySpec:
    """What a device is told of a key when a session of it is opened there.

    :ivar algorithm: as the capability table names it
    :ivar material: a secret's bytes, or a key object of the package `cryptography`; never printed
    """

    algorithm: str
    material: Any = field(repr=False)


class Key:
    """A key of a program: its material, its sessions on devices, and whether it may still be used.

    :ivar name: for people, such as ``RSA private key, 2048 bits``
    :ivar revoked: no new operation may use it
    :ivar in_flight: operations that use it now
    """

    __slots__ = ("_material", "_sessions", "in_flight", "name", "revoked")

    def __init__(self, material: object, name: str) -> None:
        self._material: object = bytearray(material) if isinstance(material, bytes) else material
        self._sessions: dict[tuple[Keyed, str], KeySession] = {}
        self.name = name
        self.revoked = False
        self.in_flight = 0

    def __repr__(self) -> str:
        return f"<{self.name}{', revoked' if self.revoked else ''}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r}: expected no copy of a key, got a request for one; pass the handle")

    @property
    def material(self) -> Any:
        """A secret's bytes, or a key object of the package `cryptography`.

        :raises InvalidState: it is revoked
        """
        if self.revoked:
            raise InvalidState(f"{self!r}: expected a key in use, got one that was revoked; make a new one")
        return self._material

    def session(self, device: Keyed, algorithm: str) -> KeySession:
        """What a device knows of it; told now, if this is the first time.

        :raises InvalidState: it is revoked
        :raises UnsupportedOperation: the device cannot have it
        """
        material = self.material
        try:
            return self._sessions[device, algorithm]
        except KeyError:
            session = device.open_key(KeySpec(algorithm, material))
            self._sessions[device, algorithm] = session
            return session

    def forget(self, device: Keyed) -> None:
        """A device was lost, and what it knew is gone."""
        for at in [at for at in self._sessions if at[0] is device]:
            self._sessions.pop(at).close()

    def begin(self) -> None:
        """An operation begins to use it."""
        self.in_flight += 1

    def end(self) -> None:
        """An operation uses it no more. The last one of a revoked key wipes it."""
        self.in_flight -= 1
        if self.revoked and not self.in_flight:
            self._wipe()

    def revoke(self) -> None:
        """No new operation may use it; what is in flight finishes, and then everybody forgets it."""
        self.revoked = True
        if not self.in_flight:
            self._wipe()

    def _wipe(self) -> None:
        for session in self._taken():
            session.close()
        if isinstance(self._material, bytearray):
            self._material[:] = bytes(len(self._material))
        self._material = None

    def _taken(self) -> Iterator[KeySession]:
        while self._sessions:
            yield self._sessions.popitem()[1]


class KeyedOperation(Operation):
    """An operation with a key.

    :ivar key: the key
    """

    __slots__ = ("key",)

    key: Key

    @property
    def stateless(self) -> bool:
        """Always: a key's session has no state that an operation changes."""
        return True
