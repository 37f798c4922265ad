"""The command: ``python -m examples.reverse_proxy --upstream HOST:PORT``."""

from __future__ import annotations

import asyncio

import wdasync
from wdasync import Kind

from . import plain
from .figures import Figures
from .lcore import Lcore
from .models import MODELS
from .offload import Offload
from .options import Options, parse
from .policy import able
from .termination import termination
from .tls import server_context


def poll(options: Options) -> None:
    """The proxy that polls."""
    tls = termination(options)
    figures = Figures(options.quiet)
    with wdasync.open_device(options.backend, needs=[(Kind.COMPRESS, "gzip")]) as polled:
        tables = [polled.device.capabilities]
        options = options.offering(able(tables, Kind.COMPRESS), able(tables, Kind.COMPRESS_CHUNK))
        lcore = Lcore(options, Offload(polled, options, figures), figures, tls)
        info = polled.device.info
        print(
            f"listening on port {lcore.port}: {options.model}, burst {options.burst}, ring {options.ring}, "
            f"{options.mbufs} buffers of {options.policy.room} bytes, {info.backend}/{info.name}"
            + (f", signatures by {tls.signer.name}" if tls is not None and tls.signer is not None else ""),
            flush=True,
        )
        lcore.run(MODELS[options.model](lcore))
    if tls is not None and tls.signer is not None:
        tls.signer.close()
    figures.total()


def main() -> None:
    """Serve."""
    options = parse()
    if options.model == "plain":
        context = server_context(options.cert, options.key) if options.tls == "plain" else None
        asyncio.run(plain.serve(options, context))
    else:
        poll(options)


if __name__ == "__main__":
    main()
