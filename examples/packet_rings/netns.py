"""Two network namespaces with a wire between them: a veth pair, veth(4)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple, TypeVar

from .words import enter_namespace

__all__ = ["End", "wire"]

T = TypeVar("T")

#: Room for what encryption adds to a frame of usual length.
MTU: Final = 2000


class End(NamedTuple):
    """One end of the wire.

    :ivar device: name of the network device
    :ivar namespace: descriptor of its namespace
    """

    device: str
    namespace: int

    def run(self, function: Callable[[str], T]) -> T:
        """Call it in the namespace, with the device's name. A socket that it opens stays there.

        A thread has a namespace of its own; so this one is left alone.
        """

        def inside() -> T:
            enter_namespace(self.namespace)
            return function(self.device)

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(inside).result()


@contextmanager
def wire() -> Iterator[tuple[End, End]]:
    """Make it; it goes when the namespaces go, with the last that holds them.

    :raises OSError: without the right to
    """
    with ExitStack() as stack:
        holders = [stack.enter_context(_namespace()) for _ in range(2)]
        left, right = (str(holder.pid) for holder in holders)
        _run("ip", "link", "add", "wire0", "netns", left, "mtu", str(MTU), "type", "veth", "peer", "name", "wire1", "mtu", str(MTU), "netns", right)  # fmt: skip
        ends = []
        for number, holder in enumerate(holders):
            change = ("nsenter", "-t", str(holder.pid), "-n", "ip", "link", "set", f"wire{number}")
            # Else the kernel says hello in IPv6, to whoever takes all frames. Where it has no IPv6, there is nothing to stop.
            subprocess.run([*change, "addrgenmode", "none"], capture_output=True, check=False)
            _run(*change, "up")
            namespace = os.open(f"/proc/{holder.pid}/ns/net", os.O_RDONLY)
            stack.callback(os.close, namespace)
            ends.append(End(f"wire{number}", namespace))
        yield ends[0], ends[1]


@contextmanager
def _namespace() -> Iterator[subprocess.Popen[str]]:
    """A process that does nothing in a network namespace of its own, until its input ends."""
    command = ["unshare", "--net", "sh", "-c", "echo ready; read line"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            assert process.stderr is not None
            raise PermissionError(
                f"{process.stderr.read().strip()}; be root, or begin with: unshare --map-root-user --net"
            )
        yield process


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
