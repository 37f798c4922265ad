"""What is measured: tables of servers and of proxies, and how each is started."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .bodies import LARGE, PAGE, SMALL

__all__ = ["OURS", "PROXIES", "SIDES", "TLS_PROXIES", "Command", "Place", "Side", "origin"]

APPLICATIONS: Final = "tests.bench_servers.applications"
OURS: Final = "wdasync"

#: One core for what is measured, one for who asks and for what stands behind.
MEASURED, OTHERS = ("taskset", "-c", "0"), ("taskset", "-c", "1")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server has to be.

    :ivar port: on 127.0.0.1, where it listens
    :ivar folder: for its files
    :ivar origin: of a proxy: the port of the server behind it
    :ivar certificate: of TLS: the chain and the private key, PEM
    """

    port: int
    folder: Path
    origin: int = 0
    certificate: tuple[Path, Path] = (Path(), Path())


Command = Callable[[Place], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Side:
    """One way to do it.

    :ivar label: for people
    :ivar command: what starts it
    :ivar ours: it is compared with the others
    """

    label: str
    command: Command
    ours: bool = False


def _uvicorn(name: str) -> Command:
    return lambda place: [
        *(sys.executable, "-m", "uvicorn", f"{APPLICATIONS}:{name}", "--port", str(place.port)),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
    ]


def _granian(name: str) -> Command:
    return lambda place: [
        *(
            sys.executable,
            "-m",
            "granian",
            "--interface",
            "asgi",
            "--loop",
            "uvloop",
            "--port",
            str(place.port),
        ),
        *("--no-access-log", "--log-level", "warning", f"{APPLICATIONS}:{name}"),
    ]


def _aiohttp(name: str) -> Command:
    return lambda place: [sys.executable, "-m", APPLICATIONS, name, str(place.port)]


NGINX: Final = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000; default_type application/json;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  gzip {gzip}; gzip_comp_level {level}; gzip_types application/json; gzip_min_length 500; gzip_proxied any;
  {body}
}}
"""
FILES: Final = """
  server {{
    listen 127.0.0.1:{port}; root {folder}/www; index page;
    location = /large {{ try_files /large =404; }} location = /small {{ try_files /small =404; }}
  }}
"""
PASSED_ON: Final = """
  upstream behind {{ server 127.0.0.1:{origin}; keepalive 256; }}
  server {{
    listen 127.0.0.1:{port} {tls};
    location / {{ proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
"""
#: Each handshake is a full one.
WITH_TLS: Final = "ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_session_cache off; ssl_session_tickets off"


def _nginx_command(place: Place, body: str, level: int) -> Sequence[str]:
    settings = place.folder / "nginx.conf"
    text = NGINX.format(folder=place.folder, gzip="on" if level else "off", level=level or 1, body=body)
    settings.write_text(text)
    return ["nginx", "-e", str(place.folder / "error.log"), "-c", str(settings)]


def _nginx(level: int) -> Command:
    """Static files, compressed each time."""

    def command(place: Place) -> Sequence[str]:
        www = place.folder / "www"
        www.mkdir()
        for name, body in (("page", PAGE), ("large", LARGE), ("small", SMALL)):
            (www / name).write_bytes(body)
        for path in (place.folder, www):
            path.chmod(0o755)
        return _nginx_command(place, FILES.format(port=place.port, folder=place.folder), level)

    return command


def origin(place: Place) -> Sequence[str]:
    """What stands behind the proxies: files, uncompressed."""
    return [*OTHERS, *_nginx(0)(place)]


def _nginx_proxy(tls: bool = False) -> Command:
    def command(place: Place) -> Sequence[str]:
        certificate, key = place.certificate
        words = WITH_TLS.format(certificate=certificate, key=key) if tls else ""
        body = PASSED_ON.format(origin=place.origin, port=place.port, tls=words)
        return [*MEASURED, *_nginx_command(place, body, 1)]

    return command


def _proxy(model: str, tls: str = "none") -> Command:
    def command(place: Place) -> Sequence[str]:
        words = [sys.executable, "-m", "examples.reverse_proxy", "--upstream", f"127.0.0.1:{place.origin}"]
        words += [
            "--model",
            model,
            "--port",
            str(place.port),
            "--room",
            str(1 << 17),
            "--connections",
            "1024",
            "--quiet",
        ]
        if tls != "none":
            words += ["--tls", tls, "--cert", str(place.certificate[0]), "--key", str(place.certificate[1])]
        return [*MEASURED, *words]

    return command


#: Name -> server, in the order in which they take their turns. A server is one process each.
SIDES: Final[dict[str, Side]] = {
    "plain": Side("uvicorn, uncompressed", _uvicorn("plain")),
    OURS: Side("wdasync, uvicorn", _uvicorn("wdasync"), ours=True),
    "wdasync-granian": Side("wdasync, granian", _granian("wdasync"), ours=True),
    "isal-thread": Side("ISA-L 1 in to_thread", _uvicorn("isal_thread")),
    "starlette-1": Side("Starlette GZip, level 1", _uvicorn("starlette_1")),
    "starlette-6": Side("Starlette GZip, level 6", _uvicorn("starlette_6")),
    "starlette-9": Side("Starlette GZip, level 9 (its default)", _uvicorn("starlette_9")),
    "starlette-compress": Side("starlette-compress, gzip 4 (its default)", _uvicorn("starlette_compress")),
    "aiohttp": Side("aiohttp's own, level 6", _aiohttp("aiohttp")),
    "wdasync-aiohttp": Side("wdasync, aiohttp", _aiohttp("aiohttp_wdasync"), ours=True),
    "nginx-1": Side("nginx gzip 1, a file", _nginx(1)),
    "nginx-6": Side("nginx gzip 6, a file", _nginx(6)),
}

#: Likewise, for proxies: compressing what the server behind them sends uncompressed. Each has one core.
PROXIES: Final[dict[str, Side]] = {
    "proxy-rtc": Side("ours, polling, run to completion", _proxy("rtc"), ours=True),
    "proxy-pipeline": Side("ours, polling, pipeline", _proxy("pipeline"), ours=True),
    "proxy-plain": Side("ours, asyncio", _proxy("plain"), ours=True),
    "nginx-proxy": Side("nginx, gzip 1", _nginx_proxy()),
}

#: Likewise, with RSA-2048 in front.
TLS_PROXIES: Final[dict[str, Side]] = {
    "tls-offloaded": Side("ours, polling, the key elsewhere", _proxy("rtc", "offloaded"), ours=True),
    "tls-plain": Side("ours, polling, Python's ssl", _proxy("rtc", "plain"), ours=True),
    "nginx-tls": Side("nginx, its own key", _nginx_proxy(tls=True)),
}
