"""A machine for one program."""

from __future__ import annotations

from typing import Any

from wdasync_hip08.functions import FUNCTIONS
from wdasync_hip08.kernel.spaces import Space
from wdasync_hip08.kernel.uacce import OpenQueue
from wdasync_hip08.machine import Machine
from wdasync_hip08.options import Options

__all__ = ["LoneMachine"]


class LoneMachine(Machine):
    """A machine with one program that opens its queues and answers their faults.

    :ivar program: its attachment
    """

    def __init__(
        self, options: Options, functions: Any = FUNCTIONS, *, handler: Any = None, reporter: Any = None
    ) -> None:
        super().__init__(options, functions)
        self.program = self.attach(handler, reporter)
        self.serve = self.program.serve

    def open(self, name: str, space: Space | None = None, owner: Any = None) -> OpenQueue:
        return super().open(name, space, owner or self.program)
