"""Counts forks: what was opened before the last one belongs to the parent."""

from __future__ import annotations

import os

__all__ = ["generation"]

#: Grows by one in the child of each fork.
generation = 0


def _forked() -> None:
    global generation
    generation += 1


os.register_at_fork(after_in_child=_forked)
