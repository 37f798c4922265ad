"""Test doubles and a judge, for programs that use wdasync and for authors of backends.

* :func:`check_backend` holds a backend to every sentence of :mod:`wdasync.backend`, and :func:`check_accelerator`
  to what users are promised.
* :mod:`wdasync.testing.mock` is a backend whose misfortunes a test can program.
* :mod:`wdasync.testing.pytest_plugin` gives both to pytest.

Names are imported when they are first used: the plug-in is loaded into test sessions of people who may never
touch an accelerator.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .accelerators import check_accelerator
    from .conformance import ContractViolation, Report, check_backend
    from .mock import MockBackend, Options, Program

__all__ = [
    "ContractViolation",
    "MockBackend",
    "Options",
    "Program",
    "Report",
    "check_accelerator",
    "check_backend",
]

_HOMES = {
    "ContractViolation": "conformance",
    "MockBackend": "mock",
    "Options": "mock",
    "Program": "mock",
    "Report": "conformance",
    "check_accelerator": "accelerators",
    "check_backend": "conformance",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
