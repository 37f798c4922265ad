"""The machines that are on in this process, and who uses them.

A process has one chip, as it has in Linux: accelerators with the same settings are attached to one machine. It is switched
on for the first of them and off after the last. Other settings are another chip, and so is another name (``chip=``). The
name ``private`` is shared by the devices of one accelerator alone: those that are opened with one object of settings.
"""

from __future__ import annotations

import os
import threading
from collections import Counter

from wdasync.faults import FaultHandler, FaultReporter
from wdasync_hip08.attachment import Attachment
from wdasync_hip08.machine import Machine
from wdasync_hip08.options import PRIVATE, Options

__all__ = ["Machines", "machines"]


class Machines:
    """The machines of one process. Every method may be called in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By settings; private ones by the identity of theirs, which they keep alive.
        self._known: dict[Options | int, Machine] = {}
        self._users: Counter[Machine] = Counter()

    def attach(
        self, options: Options, handler: FaultHandler | None = None, reporter: FaultReporter | None = None
    ) -> Attachment:
        """Become a user of the machine with these settings. Blocks while it is switched on.

        :raises OSError: as :class:`Machine`
        """
        with self._lock:
            machine = self._known.get(_key(options)) or Machine(options)
            try:
                attachment = machine.attach(handler, reporter)
            except BaseException:
                if not self._users[machine]:
                    machine.close()
                raise
            self._known[_key(options)] = machine
            self._users[machine] += 1
            return attachment

    def detach(self, attachment: Attachment) -> None:
        """Be a user no more. The machine is switched off after the last. Idempotent; a machine of another process is left alone.

        :raises OSError: the trace could not be written; everything else is done
        """
        machine = attachment.machine
        with self._lock:
            if machine not in self._users:
                return
        if not attachment.close():
            return
        with self._lock:
            self._users[machine] -= 1
            if self._users[machine] > 0:
                return
            del self._users[machine]
            del self._known[_key(machine.options)]
        machine.close()

    def on(self) -> list[Machine]:
        """Those that are on."""
        with self._lock:
            return [machine for machine in self._users if machine.alive]

    def __repr__(self) -> str:
        return f"<Machines {dict(self._users)}>"


def _key(options: Options) -> Options | int:
    return id(options) if options.chip == PRIVATE else options


_machines = Machines()


def machines() -> Machines:
    """Those of this process. After a fork the child begins afresh: the machines that it sees are its parent's."""
    return _machines


def _forget() -> None:
    global _machines  # a lock that somebody held in the parent would never be free
    _machines = Machines()


os.register_at_fork(after_in_child=_forget)
