"""Sequences: what one step makes the next one takes; errors name the step; an end is an end."""

import gzip
import hashlib
import hmac
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import wdasync
from wdasync import Accelerator, Reason
from wdasync.errors import DataError, InvalidArgument, InvalidState, Status
from wdasync.operations import (
    LOOKING,
    Checksum,
    Compress,
    Copy,
    Decompress,
    Digest,
    Encrypt,
    Key,
    Kind,
    Mac,
    Nop,
    Recipe,
    Seal,
    Sequence,
)
from wdasync.testing.mock import backend as mock

pytestmark = pytest.mark.anyio

DATA = b"what goes through all steps, " * 3000
PACKED = gzip.compress(DATA)


@pytest.fixture(params=["cpu", "mock", "mock alone"])
async def acc(request: pytest.FixtureRequest) -> AsyncIterator[Accelerator]:
    """One that can do a whole sequence, one whose fallback can, one that can do only steps."""
    name, _, alone = request.param.partition(" ")
    async with wdasync.open_accelerator(name, fallback=not alone) as opened:
        yield opened
        assert opened.statistics().rescues == 0


async def test_what_one_makes_the_next_takes(acc: Accelerator) -> None:
    key = acc.mac_key("hmac-sha256", b"secret")
    sequence = acc.sequence().decompress().crc32().adler32().digest().mac(key).compress("zlib", level=9)
    assert repr(sequence) == (
        "<OperationSequence decompress gzip, checksum crc32, checksum adler32, digest sha256, mac hmac-sha256, compress zlib>"
    )
    for source in (PACKED, [PACKED[:9], bytearray(PACKED[9:])]):
        result = await sequence.run(source)
        assert zlib.decompress(result.output) == DATA
        code = hmac.digest(b"secret", DATA, "sha256")
        digest = hashlib.sha256(DATA).digest()
        assert result.seen == (None, zlib.crc32(DATA), zlib.adler32(DATA), digest, code, None)
    assert key._key.in_flight == 0


async def test_an_input_whose_pages_come(acc: Accelerator) -> None:
    """It may be touched by any step, or by several."""
    asked: list[int] = []

    async def pager(offset: int, nbytes: int) -> bytes:
        asked.append(offset)
        return DATA[offset : offset + nbytes]

    buffer = wdasync.PagedBuffer(len(DATA), pager)
    result = await acc.sequence().crc32().compress().digest().run(buffer)
    assert gzip.decompress(result.output) == DATA
    assert result.seen == (zlib.crc32(DATA), None, hashlib.sha256(result.output).digest())
    assert sorted(asked) == list(range(0, len(DATA), 4096))


async def test_only_looks(acc: Accelerator) -> None:
    result = await acc.sequence().crc32().digest("sha1").run(DATA)
    assert (result.output, result.seen) == (b"", (zlib.crc32(DATA), hashlib.sha1(DATA).digest()))


async def test_the_error_is_the_step_s(acc: Accelerator) -> None:
    sequence = acc.sequence().compress("zlib").decompress("gzip").crc32()
    with pytest.raises(DataError, match=r"^step 2 of 3: decompress gzip on "):
        await sequence.run(DATA)
    with pytest.raises(wdasync.LimitExceeded, match=r"^step 1 of 1: .*max_length 10"):
        await acc.sequence().decompress(max_length=10).run(PACKED)


async def test_many_at_once(acc: Accelerator) -> None:
    sequence = acc.sequence().compress().decompress().digest()
    seen = []

    async def one(number: int) -> None:
        text = DATA + b"%d" % number
        result = await sequence.run(text)
        assert result.output == text
        seen.append(result.seen[-1])

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(one, number)
    assert len(set(seen)) == 20


async def test_a_time_out(acc: Accelerator) -> None:
    with pytest.raises(wdasync.OperationTimeout):
        await acc.sequence().compress(level=9).digest().run(DATA * 100, timeout=0.000001)


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (lambda new, _: new.compress(level=None, algorithm="gzip").decompress(max_length=-1), "max_length"),
        (lambda new, _: new.mac(b"key"), "key: expected a handle of an accelerator, got bytes"),
        (lambda new, _: new.encrypt("key", b""), "key: expected a handle of an accelerator, got str"),
        (lambda new, other: new.mac(other.mac_key("hmac-sha256", b"key")), "of the same accelerator"),
    ],
)
async def test_steps_that_cannot_be(acc: Accelerator, add: Any, message: str) -> None:
    async with wdasync.open_accelerator("mock") as other:
        with pytest.raises(InvalidArgument, match=message):
            add(acc.sequence(), other)


@pytest.mark.parametrize(
    ("add", "error", "message"),
    [
        (lambda new: new.compress(["gzip"]), InvalidArgument, r"algorithm: expected a str .* got \['gzip'\]"),
        (lambda new: new.decompress(None), InvalidArgument, "algorithm: expected a str .* got None"),
        (lambda new: new.digest({}), InvalidArgument, "algorithm: expected a str .* got {}"),
        (lambda new: new.compress(level=99), InvalidArgument, "level: expected .* got 99"),
        (lambda new: new.compress(level=True), InvalidArgument, "level: expected .* got True"),
        (lambda new: new.compress(level=[]), InvalidArgument, r"level: expected .* got \[\]"),
        (
            lambda new: new.compress("gzap"),
            wdasync.UnsupportedOperation,
            "expected one of .*gzip.* got 'gzap'",
        ),
        (lambda new: new.digest("sha257"), wdasync.UnsupportedOperation, "expected one of .* got 'sha257'"),
    ],
)
async def test_steps_that_nobody_can_do(
    acc: Accelerator, add: Any, error: type[Exception], message: str
) -> None:
    """They are refused when they are added, and are no part of the sequence then."""
    sequence = acc.sequence().crc32()
    with pytest.raises(error, match=message):
        add(sequence)
    assert (await sequence.run(b"x")).seen == (zlib.crc32(b"x"),)


async def test_a_step_that_is_done_at_one_priority_only() -> None:
    """Whoever adds it may mean that one."""
    urgent = wdasync.Rule("cpu", operation="compress", priority="high")
    async with wdasync.open_accelerator("mock", policy=[urgent], fallback=False) as acc:
        sequence = acc.sequence().compress("br")
        assert (await sequence.run(DATA, priority=wdasync.Priority.HIGH)).output
        with pytest.raises(wdasync.UnsupportedOperation, match="step 1 of 1: compress"):
            await sequence.run(DATA)


async def test_a_nonce_is_used_by_what_ran() -> None:
    async with wdasync.open_accelerator("cpu") as acc:
        aead = acc.aead("aes-256-gcm", bytes(32))
        sequence = acc.sequence().encrypt(aead, bytes(12))
        with pytest.raises(InvalidArgument, match="timeout"):
            await sequence.run(DATA, timeout=-1)
        assert await aead.decrypt(bytes(12), (await sequence.run(DATA)).output) == DATA
    with pytest.raises(wdasync.ClosedResourceError):
        await sequence.run(DATA)


@pytest.mark.parametrize("backend", ["cpu", "hip08"])
async def test_nonces_of_each_run(backend: str) -> None:
    """A sequence is made once, and run with other nonces each time, also by several tasks at once."""
    async with wdasync.open_accelerator(backend) as acc:
        aead, cipher = acc.aead("aes-256-gcm", bytes(32)), acc.cipher("aes-128-ctr", bytes(16))
        seal = (
            acc.sequence().compress("zlib").encrypt(cipher).crc32().encrypt(aead, associated_data=b"header")
        )
        unseal = acc.sequence().decrypt(aead, None, b"header").decrypt(cipher).decompress("zlib")
        found: dict[int, bytes] = {}

        async def there_and_back(number: int) -> None:
            iv, nonce = number.to_bytes(16, "big"), bytearray(number.to_bytes(12, "big"))
            sealed = await seal.run(DATA, nonces=[iv, nonce])
            found[number] = sealed.output
            back = await unseal.run(sealed.output, nonces=(bytes(nonce), iv))
            assert back == (DATA, (None, None, None))

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(there_and_back, number)
        assert len(set(found.values())) == 20
        with pytest.raises(wdasync.InvalidTag, match=r"^step 1 of 3: open"):
            await unseal.run(found[3], nonces=(bytes(12), bytes(16)))


@pytest.mark.parametrize("nonces", [(), (bytes(12),), (bytes(12),) * 3])
async def test_as_many_nonces_as_steps_want(nonces: tuple[bytes, ...]) -> None:
    async with wdasync.open_accelerator("cpu") as acc:
        cipher = acc.cipher("aes-128-ctr", bytes(16))
        sequence = acc.sequence().encrypt(cipher).encrypt(cipher, bytes(16)).encrypt(cipher)
        with pytest.raises(InvalidArgument, match=f"nonces: expected 2, .* got {len(nonces)}"):
            await sequence.run(DATA, nonces=nonces)


async def test_a_nonce_that_is_none() -> None:
    async with wdasync.open_accelerator("cpu") as acc:
        sequence = acc.sequence().encrypt(acc.aead("aes-256-gcm", bytes(32)))
        for nonce in ("text", 12, bytes(3), b"", None):
            with pytest.raises(InvalidArgument, match="nonce"):
                await sequence.run(DATA, nonces=(nonce,))  # type: ignore[arg-type]
        for nonces in (None, 3):
            with pytest.raises(InvalidArgument, match="nonces: expected a list"):
                await sequence.run(DATA, nonces=nonces)  # type: ignore[arg-type]
        cipher = acc.cipher("aes-128-ctr", bytes(16))
        with pytest.raises(InvalidArgument, match="iv: expected 16 bytes, got 12"):
            await acc.sequence().encrypt(cipher).run(DATA, nonces=(bytes(12),))
        with pytest.raises(InvalidArgument, match="iv: expected 16 bytes, got 12"):
            acc.sequence().encrypt(cipher, bytes(12))
        with pytest.raises(InvalidArgument, match="nonce: expected"):
            acc.sequence().decrypt(acc.aead("aes-256-gcm", bytes(32)), b"")
        assert len((await sequence.run(DATA, nonces=(bytes(12),))).output) == len(DATA) + 16


async def test_a_nonce_of_its_own_is_used_once_beside_others() -> None:
    async with wdasync.open_accelerator("cpu") as acc:
        aead = acc.aead("aes-256-gcm", bytes(32))
        sequence = acc.sequence().encrypt(aead).encrypt(aead, bytes(12))
        await sequence.run(DATA, nonces=(bytes(11) + b"1",))
        with pytest.raises(InvalidState, match="nonce"):
            await sequence.run(DATA, nonces=(bytes(11) + b"2",))


async def test_no_steps(acc: Accelerator) -> None:
    with pytest.raises(InvalidArgument, match="at least one"):
        await acc.sequence().run(DATA)
    assert repr(acc.sequence()) == "<OperationSequence without steps>"


async def test_closed(acc: Accelerator) -> None:
    sequence = acc.sequence().crc32()
    await acc.aclose()
    with pytest.raises(wdasync.ClosedResourceError):
        await sequence.run(DATA)
    with pytest.raises(wdasync.ClosedResourceError):
        acc.sequence()


# -- as one operation ---------------------------------------------------------------------------------------------------


async def test_the_loop_sees_it_once() -> None:
    async with wdasync.open_accelerator("cpu", inline=False) as acc:
        key, cipher = acc.aead("aes-256-gcm", bytes(32)), acc.cipher("aes-128-ctr", bytes(16))
        sequence = acc.sequence().compress().encrypt(cipher, bytes(16)).encrypt(key, bytes(12), b"header")
        result = await sequence.run(DATA)
        assert sum(lane.submitted for lane in acc.statistics().lanes) == 1
        back = acc.sequence().decrypt(key, bytes(12), b"header").decrypt(cipher, bytes(16)).decompress()
        assert (await back.run(result.output)).output == DATA
        with pytest.raises(wdasync.InvalidTag, match=r"^step 1 of 3: open"):
            await back.run(result.output[:-1])
        with pytest.raises(InvalidState, match="nonce"):
            await sequence.run(DATA)
        with pytest.raises(InvalidArgument, match="associated_data"):
            acc.sequence().encrypt(cipher, bytes(16), b"header")
        assert (key._key.in_flight, cipher._key.in_flight) == (0, 0)
        cipher.revoke()
        with pytest.raises(InvalidState, match="revoked"):
            await back.run(result.output)
        assert key._key.in_flight == 0


async def test_executed_as_an_operation() -> None:
    async with wdasync.open_accelerator("cpu") as acc:
        operation = Sequence(
            PACKED, [Decompress(b"", "gzip"), Checksum(b"", "crc32c"), Compress(b"", "zlib")]
        )
        result = await acc.execute(operation)
        assert zlib.decompress(result.output or b"") == DATA
        assert operation.seen[1] == (await acc.crc32c(DATA)).to_bytes(4, "big")
        assert (result.reason, result.consumed) == (Reason.PREFERRED, len(PACKED))
        assert all(step.source == b"" for step in operation.steps)


async def test_a_step_that_nobody_can_do() -> None:
    async with wdasync.open_accelerator("cpu") as acc:
        operation = Sequence(DATA, [Digest(b"", "sha257")])
        with pytest.raises(wdasync.UnsupportedOperation, match="step 1 of 1: digest sha257 on cpu/cpu0"):
            await acc.execute(operation)


async def test_cancelled_between_steps() -> None:
    """Where steps are sent one by one, none begins after that."""
    with mock.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            program.hold()
            sequence = acc.sequence().compress().crc32()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(sequence.run, DATA)
                while not acc.statistics().in_flight:
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            program.release()
            await acc.nop()
            assert sum(lane.submitted for lane in acc.statistics().lanes) == 2


async def test_out_of_time_between_steps() -> None:
    """The time-out is for all steps, and the error names the one that was under way."""
    with mock.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            program.hold()
            with pytest.raises(wdasync.OperationTimeout, match=r"^step 1 of 2: <Sequence .* within 0.01 s"):
                await acc.sequence().compress().crc32().run(DATA, timeout=0.01)
            program.release()


async def test_a_failed_step_holds_no_input() -> None:
    async with wdasync.open_accelerator("mock", fallback=False) as acc:
        data = bytearray(DATA)
        with pytest.raises(DataError) as caught:
            await acc.sequence().crc32().decompress().run(data)
        data.append(1)  # while the error is there
        assert caught.value.args[0].startswith("step 2 of 2")


async def test_all_steps_of_a_run_have_one_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a device keeps of an output is ended when the next step that makes something is over, and at the end."""
    async with wdasync.open_accelerator("mock", fallback=False) as acc:
        run, events, chains = acc._execution.run, [], set()

        async def watched(operation: Any, *rest: Any) -> Any:
            done = await run(operation, *rest)
            chains.add(operation.chain)
            name = operation.kind.name
            events.append(name)
            if operation.kind not in LOOKING:
                operation.chain.keep(lambda: events.append(f"end of what {name} made"))
            return done

        monkeypatch.setattr(acc._execution, "run", watched)
        await acc.sequence().compress().crc32().decompress().digest().run(DATA)
        assert events == [
            "COMPRESS", "CHECKSUM", "DECOMPRESS", "end of what COMPRESS made", "DIGEST", "end of what DECOMPRESS made",
        ]  # fmt: skip
        (chain,) = chains
        assert repr(chain) == "<Chain 0 kept, closed>"
        events.clear()
        chain.keep(lambda: events.append("at once"))
        assert events == ["at once"]


@pytest.mark.parametrize(
    ("names", "policy", "whole"),
    [
        (["cpu"], [], True),
        (["cpu", "mock"], [], True),
        (["mock", "cpu"], [], False),
        (["mock", "cpu"], [{"operation": "*", "backend": "cpu"}], True),
        (["mock", "cpu"], [{"operation": "sequence", "backend": "cpu"}], False),
        (["cpu", "mock"], [{"operation": "compress", "backend": "mock"}], False),
        (["cpu", "mock"], [{"operation": "compress", "backend": "mock", "min_size": 1 << 30}], True),
        (["mock"], [], False),
    ],
)  # fmt: skip
async def test_who_does_it(names: list[str], policy: Any, whole: bool) -> None:
    """One device does all of it if it can, and no step would rather go to another backend."""
    seen: list[Kind] = []
    settings: dict[str, Any] = {"fallback": False, "policy": policy}
    async with wdasync.open_accelerator(
        names, observer=lambda each: seen.append(each.kind), **settings
    ) as acc:
        assert gzip.decompress((await acc.sequence().crc32().compress().run(DATA)).output) == DATA
    assert seen == ([Kind.SEQUENCE] if whole else [Kind.CHECKSUM, Kind.COMPRESS])


async def test_a_step_is_sent_again() -> None:
    with mock.programmed(devices=2) as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            program.fail(Status.DEVICE_ERROR, count=1)
            result = await acc.sequence().compress().crc32().run(DATA)
            assert gzip.decompress(result.output) == DATA
            assert acc.statistics().retries == 1


# -- the operation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "steps: expected at least one"),
        ([Nop()], "step 1: expected an operation on data"),
        ([Digest(b"", "sha256"), Copy(b"", bytearray(1))], "step 2: expected an operation on data"),
        ([Digest(b"x", "sha256")], "step 1: expected no input"),
        ([Compress(b"", "gzip", into=bytearray(9))], "no buffer of its own"),
    ],
)
def test_what_is_no_sequence(steps: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Sequence(b"", steps)


def test_it_holds_its_input_until_it_is_released() -> None:
    data = bytearray(DATA)
    key = Key(b"secret", "a key")
    operation = Sequence(data, [Mac(key, b"", "hmac-sha256")])
    assert operation.feed(0).nbytes == len(data)
    assert not operation.detachable
    assert operation.stateless
    operation.release()
    data.append(1)
    assert Sequence(DATA, [Mac(key, b"", "hmac-sha256")]).detachable
    assert operation.feed(0, (b"ab", b"c")).nbytes == 3


def test_each_step_is_an_operation_of_its_own() -> None:
    """With the input and the nonce of its sequence; the recipe's stays as it was."""
    key = Key(bytes(32), "a key")
    recipe = Recipe([Seal(key, b"", b"", "aes-256-gcm"), Encrypt(key, b"", "aes-256-ctr")], wanting=[0, 1])
    one, other = (Sequence(data, recipe, (data * 12, data * 16)) for data in (b"1", b"2"))
    sealing, again = one.feed(0), other.feed(0)
    encrypting = one.feed(1, b"sealed")
    assert isinstance(sealing, Seal)
    assert isinstance(again, Seal)
    assert isinstance(encrypting, Encrypt)
    assert (sealing.source, sealing.nonce, again.source, again.nonce) == (b"1", b"1" * 12, b"2", b"2" * 12)
    assert (encrypting.source, encrypting.iv, encrypting.nbytes) == (b"sealed", b"1" * 16, 6)
    assert [step.source for step in recipe.steps] == [b"", b""]
    assert one.steps is other.steps


async def test_what_could_not_run_has_used_no_nonce() -> None:
    async with wdasync.open_accelerator("cpu") as acc:
        sequence = acc.sequence().encrypt(acc.aead("aes-256-gcm", bytes(32)), bytes(12))
        with pytest.raises(InvalidArgument, match="priority"):
            await sequence.run(DATA, priority=7)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="timeout"):
            await sequence.run(DATA, timeout=-1)
        assert (await sequence.run(DATA)).output
        with pytest.raises(InvalidState, match="got it again"):
            await sequence.run(DATA)
        key = acc.aead("aes-256-gcm", bytes(32))
        other = acc.sequence().encrypt(key, bytes(12))
        key.revoke()
        for _ in range(2):
            with pytest.raises(InvalidState, match="revoked"):
                await other.run(DATA)


async def test_an_error_of_who_gives_nonces_is_theirs() -> None:
    def broken() -> Iterator[bytes]:
        yield b""
        raise TypeError("of the caller")

    async with wdasync.open_accelerator("cpu") as acc:
        sequence = acc.sequence().encrypt(acc.aead("aes-256-gcm", bytes(32)))
        with pytest.raises(TypeError, match="of the caller"):
            await sequence.run(DATA, nonces=broken())


async def test_a_sequence_that_grows_after_it_ran() -> None:
    async with wdasync.open_accelerator("cpu") as acc:
        sequence = acc.sequence().crc32()
        assert (await sequence.run(DATA)).seen == (zlib.crc32(DATA),)
        sequence.compress()
        result = await sequence.run(DATA)
        assert (gzip.decompress(result.output), len(result.seen)) == (DATA, 2)


def test_all_of_its_keys_or_none() -> None:
    one, other = Key(b"secret", "a key"), Key(b"secret", "another")
    operation = Sequence(b"", [Mac(one, b"", "hmac-sha256"), Mac(other, b"", "hmac-sha256")])
    assert operation.key is not None
    operation.key.begin()
    assert (one.in_flight, other.in_flight) == (1, 1)
    operation.key.end()
    other.revoke()
    for use in (operation.key.begin, operation.key.use):
        with pytest.raises(InvalidState):
            use()
    assert (one.in_flight, other.in_flight) == (0, 0)
    with pytest.raises(InvalidState):
        operation.key.check()


async def test_a_nonce_is_copied() -> None:
    """It is what it was when the step was added, whatever its owner does with the memory then."""
    async with wdasync.open_accelerator("cpu") as acc:
        aead, cipher = acc.aead("aes-128-gcm", bytes(16)), acc.cipher("aes-128-ctr", bytes(16))
        nonce, iv, header = bytearray(12), bytearray(16), bytearray(b"header")
        sequence = acc.sequence().encrypt(cipher, iv).encrypt(aead, nonce, header)
        for memory in (nonce, iv, header):
            memory[0] = 0xFF
            memory.append(0)
        sealed = (await sequence.run(DATA)).output
        inner = await aead.decrypt(bytes(12), sealed, b"header")
        assert await cipher.decrypt(bytes(16), inner) == DATA
