"""Where servers are installed."""

import os


def look_in_sbin() -> None:
    """Debian keeps servers where only root's path looks."""
    os.environ["PATH"] += os.pathsep.join(("", "/usr/sbin", "/sbin"))
