"""A server with TLS around its streams, used with curl and with OpenSSL's client."""

import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from tests.examples.offloaded_tls.headers import needed

needed()

from examples.offloaded_tls import BrokenTls, Settings, Signing, TlsStream  # noqa: E402  after the check
from tests.examples.offloaded_tls.support import KINDS, VERSIONS, owner  # noqa: E402
from tests.programs import needs  # noqa: E402

pytestmark = pytest.mark.anyio
BODY = b"".join(b"line %d\n" % number for number in range(20_000))


class Served:
    """A server.

    :ivar port: where
    :ivar failures: why connections ended
    :ivar waiting: handshakes that wait for their signature
    :ivar longest: how many did at the same time
    """

    def __init__(self, kind: str, together: int = 1) -> None:
        self.kind = kind
        self.port = 0
        self.failures: list[BaseException] = []
        self.waiting = self.longest = 0
        self._together, self._all_there = together, anyio.Event()

    async def sign(self, asked: Signing) -> bytes:
        """In a thread, once as many wait as are expected."""
        self.waiting += 1
        self.longest = max(self.longest, self.waiting)
        if self.waiting >= self._together:
            self._all_there.set()
        await self._all_there.wait()
        signature = await anyio.to_thread.run_sync(owner(self.kind).sign, asked)
        self.waiting -= 1
        return signature

    async def handle(self, transport: SocketStream) -> None:
        try:
            stream = await TlsStream.wrap(transport, Settings(owner(self.kind).certificate), self.sign)
            async with stream:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += await stream.receive()
                length = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(BODY)
                await stream.send(length)
                await stream.send(BODY)
                await stream.send_eof()
        except (BrokenTls, anyio.EndOfStream, anyio.BrokenResourceError, RuntimeError) as error:
            self.failures.append(error)
            await transport.aclose()


@asynccontextmanager
async def served(
    kind: str, together: int = 1, change: Callable[[Served], None] | None = None
) -> AsyncIterator[Served]:
    server = Served(kind, together)
    if change is not None:
        change(server)
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        server.port = listener.extra(SocketAttribute.local_port)
        group.start_soon(listener.serve, server.handle)
        yield server
        group.cancel_scope.cancel()


async def curl(server: Served, *words: str) -> "subprocess.CompletedProcess[bytes]":
    command = ["curl", "-sS", "--max-time", "60", "--cacert", str(owner(server.kind).certificate), *words]
    return await anyio.run_process([*command, f"https://localhost:{server.port}/"], check=False)


@needs("curl")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
async def test_curl(kind: str, version: str) -> None:
    async with served(kind) as server:
        words = [f"--tls{version.lower().removeprefix('tls')}", "--tls-max", version.removeprefix("TLSv")]
        done = await curl(server, *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, BODY, b"")
        assert server.failures == []


@needs("curl")
async def test_many_clients_at_a_time() -> None:
    """All handshakes wait for their signatures together: none holds up another."""
    async with served("rsa", together=8) as server:
        found: list[bytes] = []

        async def client() -> None:
            found.append((await curl(server)).stdout)

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(client)
        assert found == [BODY] * 8
        assert server.longest == 8


@needs("openssl")
@pytest.mark.parametrize(("version", "scheme"), [("-tls1_2", b"RSA"), ("-tls1_3", b"RSA-PSS")])
async def test_openssl(version: str, scheme: bytes) -> None:
    async with served("rsa") as server:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", version, "-brief"]
        command += ["-CAfile", str(owner("rsa").certificate), "-verify_return_error", "-quiet", "-ign_eof"]
        done = await anyio.run_process(command, input=b"GET / HTTP/1.1\r\n\r\n", check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(BODY)


async def test_a_signer_that_fails() -> None:
    def change(server: Served) -> None:
        async def sign(asked: Signing) -> bytes:
            raise RuntimeError("the key is gone")

        server.sign = sign  # type: ignore[method-assign]  # what fails

    async with served("rsa", change=change) as server:
        done = await curl(server)
        assert done.returncode == 35
        assert b"alert" in done.stderr
        (failure,) = server.failures
        assert str(failure) == "the key is gone"


async def test_clients_that_are_none() -> None:
    async with served("rsa") as server:
        for words in (b"GET / HTTP/1.1\r\n\r\n", b""):
            async with await anyio.connect_tcp("127.0.0.1", server.port) as client:
                await client.send(words or b"\x16")
                await client.send_eof()
                with anyio.move_on_after(10):
                    while True:
                        try:
                            await client.receive()
                        except (anyio.EndOfStream, anyio.BrokenResourceError):
                            break
        done = await curl(server)
        assert done.stdout == BODY
        assert [type(failure) for failure in server.failures] == [BrokenTls, anyio.EndOfStream]
