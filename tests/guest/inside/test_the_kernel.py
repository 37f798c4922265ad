"""The last file, by its name: the kernel has nothing to complain of after all of that."""

import os

COMPLAINTS = (
    "BUG:",
    "WARNING:",
    "Oops",
    "general protection",
    "refcount_t",
    "corruption",
    "blocked for more than",
)


def test_log() -> None:
    lines = []
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            lines.append(os.read(log, 8192).decode(errors="replace"))
    except BlockingIOError:
        pass
    finally:
        os.close(log)
    assert any("wdasync_board" in line for line in lines)
    assert [line for line in lines if any(complaint in line for complaint in COMPLAINTS)] == []
