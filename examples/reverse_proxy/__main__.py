"""The command: ``python -m examples.reverse_proxy --upstream HOST:PORT``."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import wdasync

from . import plain
from .figures import Figures
from .lcore import Lcore
from .models import MODELS
from .offload import NEEDS, Offload
from .options import Options, parse
from .termination import termination


def poll(options: Options) -> None:
    """The proxy that polls."""
    figures = Figures(options.quiet)
    with ExitStack() as stack:
        tls = termination(options)
        if tls is not None and tls.signer is not None:
            stack.callback(tls.signer.close)
        devices = [stack.enter_context(it) for it in wdasync.open_devices(options.backend, needs=NEEDS)]
        offload = Offload(devices, options, figures)
        stack.callback(offload.lanes.close)
        options = options.offering(*offload.offers)
        lcore = Lcore(options, offload, figures, tls)
        names = ", then ".join(f"{polled.backend}/{polled.device.info.name}" for polled in devices)
        print(
            f"listening on port {lcore.port}: {options.model}, burst {options.burst}, ring {options.ring}, "
            f"{options.mbufs} buffers of {options.policy.room} bytes, {names}"
            + (f", signatures by {tls.signer.name}" if tls is not None and tls.signer is not None else ""),
            flush=True,
        )
        lcore.run(MODELS[options.model](lcore))
    figures.total()


def main() -> None:
    """Serve."""
    options = parse()
    if options.model == "plain":
        asyncio.run(plain.serve(options))
    else:
        poll(options)


if __name__ == "__main__":
    main()
