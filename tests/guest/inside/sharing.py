"""Several machines work off one list of tests: one from its beginning, another from its end, until they meet."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import pytest

__all__ = ["run_share"]

#: What each machine does at its end, for itself.
LAST = "test_the_kernel.py"


def run_share(session: pytest.Session, folder: Path, *, backwards: bool) -> None:
    """Run the tests that no other machine has begun, and those that are each machine's.

    :param folder: where a test that somebody has begun leaves a mark; all machines see it
    :param backwards: from the end of the list
    """
    last = [item for item in session.items if item.path.name == LAST]
    others = [item for item in session.items if item.path.name != LAST]
    mine: Iterator[pytest.Item] = itertools.chain(claimed(others, folder, backwards=backwards), last)
    item = next(mine, None)
    while item is not None:
        following = next(mine, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following


def claimed(items: Sequence[pytest.Item], folder: Path, *, backwards: bool) -> Iterator[pytest.Item]:
    """Those that come before the first that another has."""
    for item in reversed(items) if backwards else items:
        try:
            (folder / quote(item.nodeid, safe="")).mkdir()
        except FileExistsError:
            return
        yield item
