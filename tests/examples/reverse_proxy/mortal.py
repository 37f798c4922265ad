"""The proxy, whose best device goes away with each SIGUSR1."""

import signal
import threading
from typing import Any

import wdasync
from examples.reverse_proxy.__main__ import main
from examples.reverse_proxy.offload import Offload
from wdasync import registry
from wdasync.backend import Device

#: The device, and its backend.
best: list[tuple[str, Device]] = []


def remember(self: Offload, devices: Any, *others: Any) -> None:
    best[:] = [(devices[0].backend, devices[0].device)]
    original(self, devices, *others)


def capabilities(self: wdasync.Accelerator) -> Any:
    place = self._places[0]
    best[:] = [(place.backend, place.device)]
    return asked(self)


def lose(*_: object) -> None:
    """In a thread: what the signal came in the middle of may hold a lock."""
    backend, device = best[0]
    provoker: Any = registry.get_backend(backend)
    threading.Thread(target=lambda: device.lost or provoker.provoker.lose(device)).start()


original, Offload.__init__ = Offload.__init__, remember  # type: ignore[method-assign]
asked, wdasync.Accelerator.capabilities = wdasync.Accelerator.capabilities, capabilities  # type: ignore[method-assign]
signal.signal(signal.SIGUSR1, lose)
main()
