"""AES-GCM by IPsec-MB, and by OpenSSL, on one machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wdasync_cpu import binding
from wdasync_cpu.crypto import gcm, natives

#: Whether the processor has what IPsec-MB is used with; where Linux does not say so, that is none of its.
_FLAGS = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []

needs_openssl = pytest.mark.skipif(
    bool(binding.library_problem("openssl")), reason="no OpenSSL that can be called: all is cryptography's"
)
needs_ipsec = pytest.mark.skipif(
    bool(binding.library_problem("openssl") or natives.ipsec_problem()) or "aes" not in _FLAGS,
    reason="no IPsec-MB here, or no instructions for AES; apt install libipsec-mb1",
)

#: Who does it.
WAYS = [
    pytest.param("IPsec-MB", marks=needs_ipsec),
    pytest.param("OpenSSL", marks=needs_openssl),
]

#: So too, as it happens to be.
ANYBODY = "anybody"


@contextmanager
def sealed_by(who: str) -> Iterator[None]:
    """Keys of which a device is told meanwhile are for this one."""
    with pytest.MonkeyPatch.context() as patch:
        if who == "OpenSSL":
            patch.setattr(gcm, "ipsec_problem", lambda: "not wanted")
        gcm.way.cache_clear()
        try:
            if who != ANYBODY:
                found = gcm.way("aes-256-gcm")
                assert found is not None
                assert found.expanded == (who == "IPsec-MB"), f"it is not {who} that does it"
            yield
        finally:
            gcm.way.cache_clear()
