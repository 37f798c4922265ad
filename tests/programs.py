"""Programs that some tests start, and that a machine may be without."""

import os
import shutil

import pytest


def look_in_sbin() -> None:
    """Debian keeps servers where only root's path looks."""
    os.environ["PATH"] += os.pathsep.join(("", "/usr/sbin", "/sbin"))


def needs(*names: str) -> pytest.MarkDecorator:
    """Skip a test where one of them is missing. A CI machine has them all, and looks for this reason in what was said."""
    missing = [name for name in names if not shutil.which(name)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
