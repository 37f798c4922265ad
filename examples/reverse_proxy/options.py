"""What can be said on the command line."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, fields, replace

from .policy import Limits, Policy

__all__ = ["Options", "parse"]


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of one run.

    :ivar upstream: host and port
    :ivar model: ``rtc``, ``pipeline``, or ``plain`` for the one without polling
    :ivar burst: what is taken at once from sockets, rings and queues, at most
    :ivar ring: slots of each ring
    :ivar mbufs: buffers in each of the two pools
    :ivar spin: turns without anything to do, before it sleeps
    :ivar connections: clients at once
    :ivar grace: seconds for connections that are busy when the proxy is told to stop
    """

    upstream: tuple[str, int]
    host: str = "127.0.0.1"
    port: int = 8080
    model: str = "rtc"
    backend: str | None = None
    burst: int = 32
    ring: int = 1024
    mbufs: int = 256
    spin: int = 64
    connections: int = 400
    tls: str = "none"
    cert: str = ""
    key: str = ""
    grace: float = 5.0
    quiet: bool = False
    policy: Policy = field(default_factory=Policy)

    @property
    def authority(self) -> bytes:
        """The upstream, as ``Host`` names it."""
        host, port = self.upstream
        return f"[{host}]:{port}".encode() if ":" in host else f"{host}:{port}".encode()

    def offering(self, whole: tuple[str, ...], streams: tuple[str, ...]) -> Options:
        """The same, with the codings that devices can do."""
        return replace(self, policy=replace(self.policy, whole=whole, streams=streams))


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, got {text!r}")
    return host.strip("[]"), int(port)


def _power(text: str) -> int:
    if not text.isdigit() or (value := int(text)) < 1 or value & (value - 1):
        raise argparse.ArgumentTypeError(f"expected a power of two, got {text!r}")
    return value


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def parse(arguments: list[str] | None = None) -> Options:
    """The options. What is wrong with them ends the program with a line that says so."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.reverse_proxy",
        description="A reverse proxy that polls, and whose responses are compressed on an accelerator.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--upstream", type=_address, required=True, help="HOST:PORT of the server behind it")
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=8080, help="port to listen on; 0: any")
    add(
        "--model", choices=["rtc", "pipeline", "plain"], default="rtc",
        help="rtc: one loop does all; pipeline: stages joined by rings; plain: asyncio, without polling",
    )  # fmt: skip
    add("--backend", help="wdasync's backend; none: as configured")
    add("--burst", type=_positive, default=32, help="taken at once, at most")
    add("--ring", type=_power, default=1024, help="slots of each ring")
    add("--mbufs", type=_power, default=256, help="buffers of each pool")
    add(
        "--room",
        type=_positive,
        default=1 << 16,
        help="bytes of a buffer, and of a body compressed in one operation",
    )
    add("--spin", type=int, default=64, help="empty turns before it sleeps")
    add("--connections", type=_positive, default=400, help="clients at once")
    add(
        "--tls",
        choices=["none", "plain", "offloaded"],
        default="none",
        help="plain: TLS by Python's ssl module; offloaded: OpenSSL, and the private key on the accelerator",
    )
    add("--cert", default="", help="certificate chain, PEM")
    add("--key", default="", help="private key, PEM")
    add("--level", default="fast", help="of compression: fast, balanced, best, or a number")
    add("--grace", type=float, default=5.0, help="seconds for busy connections at the end")
    add("--quiet", action="store_true", help="no line of figures a second")
    for item in fields(Limits):
        kind = int if item.name == "high_water" else float
        name = item.name.replace("_", "-")
        add(f"--limit-{name}", type=kind, default=item.default, help="see policy.Limits")
    given = vars(parser.parse_args(arguments))
    if given["tls"] != "none" and not (given["cert"] and given["key"]):
        parser.error("--tls: expected --cert and --key beside it; make a pair with `openssl req -x509`")
    limits = Limits(**{item.name: given.pop(f"limit_{item.name}") for item in fields(Limits)})
    level = given.pop("level")
    policy = Policy(
        room=given.pop("room"), level=int(level) if level.lstrip("-").isdigit() else level, limits=limits
    )
    return Options(policy=policy, **given)
