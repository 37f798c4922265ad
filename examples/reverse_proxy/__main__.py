"""The command: ``python -m examples.reverse_proxy --upstream HOST:PORT``."""

from __future__ import annotations

import asyncio
import ssl

import wdasync
from wdasync import Kind

from . import plain
from .figures import Figures
from .lcore import Lcore
from .models import MODELS
from .offload import Offload
from .options import Options, parse
from .policy import able
from .tls import server_context


def poll(options: Options, context: ssl.SSLContext | None) -> None:
    """The proxy that polls."""
    figures = Figures(options.quiet)
    with wdasync.open_device(options.backend) as polled:
        tables = [polled.device.capabilities]
        options = options.offering(able(tables, Kind.COMPRESS), able(tables, Kind.COMPRESS_CHUNK))
        lcore = Lcore(options, Offload(polled, options, figures), figures, context)
        info = polled.device.info
        print(
            f"listening on port {lcore.port}: {options.model}, burst {options.burst}, ring {options.ring}, "
            f"{options.mbufs} buffers of {options.policy.room} bytes, {info.backend}/{info.name}",
            flush=True,
        )
        lcore.run(MODELS[options.model](lcore))
    figures.total()


def main() -> None:
    """Serve."""
    options = parse()
    context = server_context(options.cert, options.key) if options.tls == "plain" else None
    if options.model == "plain":
        asyncio.run(plain.serve(options, context))
    else:
        poll(options, context)


if __name__ == "__main__":
    main()
