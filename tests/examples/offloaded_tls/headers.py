"""What only some machines have."""

import os
from importlib import import_module

import pytest


def needed() -> None:
    """Skip a module where OpenSSL's headers are missing; a CI machine has them."""
    try:
        import_module("examples.offloaded_tls")
    except ImportError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"not installed: {error}", allow_module_level=True)
