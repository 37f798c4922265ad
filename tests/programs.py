"""Programs that some tests start, and that a machine may be without."""

import shutil

import pytest


def needs(*names: str) -> pytest.MarkDecorator:
    """Skip a test where one of them is missing. A CI machine has them all, and looks for this reason in what was said."""
    missing = [name for name in names if not shutil.which(name)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
