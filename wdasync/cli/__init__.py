"""The command line, ``python -m wdasync`` or ``wdasync``.

Exit status: 0 done, 1 failed, 2 wrong usage, 128 + number of the signal that ended it. A failure is one line on
standard error; with ``WDASYNC_DEBUG=1`` its traceback comes before it.
"""

from .commands import app, main

__all__ = ["app", "main"]
