"""Nonsense from every side: the chip answers with errors, and its other users notice nothing.

`nox -s stress` does ten times as much.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.hip08 import fuzz
from tests.hip08.fuzz import Bench

COUNT = int(os.environ.get("STRESS_NONSENSE", "10000"))


@pytest.fixture
def new_bench(new_machine: Any, raw_driver: Any) -> Callable[[], Bench]:
    return lambda: Bench(new_machine(), raw_driver)


@pytest.mark.parametrize("queue_type", [0, 1])
def test_entries(new_bench: Callable[[], Bench], queue_type: int) -> None:
    fuzz.entries(new_bench(), COUNT, queue_type)


def test_scatter_lists(new_bench: Callable[[], Bench]) -> None:
    fuzz.scatter_lists(new_bench(), COUNT)


def test_doorbells(new_bench: Callable[[], Bench]) -> None:
    fuzz.doorbells(new_bench(), COUNT)


def test_mailbox_words(new_bench: Callable[[], Bench]) -> None:
    fuzz.mailbox_words(new_bench, COUNT)


def test_registers(new_bench: Callable[[], Bench]) -> None:
    fuzz.registers(new_bench(), COUNT)


@pytest.mark.slow
def test_table_words(new_bench: Callable[[], Bench]) -> None:
    fuzz.table_words(new_bench(), COUNT)
