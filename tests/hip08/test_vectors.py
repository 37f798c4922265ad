"""Published answers, by the user drivers on the emulated engines: each case that the engines have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crypto.cases import CASES, Case
from wdasync.backend import Status
from wdasync.operations import Kind, Operation
from wdasync_hip08.functions import HPRE, SEC

from .drivers import Bench, bench

#: Cases of one name that are run, of those that the engines have: the model is slow, and its arithmetic the same in all.
MOST = {Kind.SIGN: 12, Kind.VERIFY: 40, Kind.EXCHANGE: 40, Kind.PRIVATE_DECRYPT: 40}
ENOUGH = 400


@pytest.fixture(scope="module")
def hpre() -> Iterator[Bench]:
    with bench(HPRE, generation=3, ram=64) as opened:
        yield opened


@pytest.fixture(scope="module", params=[2, 3], ids=["v2", "v3"])
def sec(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with bench(SEC, generation=request.param, ram=64) as opened:
        yield opened


def limit(operation: Operation) -> int:
    return MOST.get(operation.kind, ENOUGH)


def takes(opened: Bench, operation: Operation) -> bool:
    """Whether the engine has it: a row, and a nonce, tag and key as it knows them."""
    if opened.device.capabilities.find(operation.kind, operation.algorithm) is None:
        return False
    if operation.algorithm.endswith("-gcm"):
        return len(operation.nonce) == 12  # type: ignore[attr-defined]  # Seal or Open
    material = getattr(operation.key, "material", None)
    bits = getattr(material, "key_size", 1024)
    return operation.algorithm != "rsa" or 1024 <= bits <= 4096


def check(opened: Bench, case: Case) -> None:
    completion = opened.run(case.operation)
    whole = completion.status is Status.SUCCESS and not isinstance(case.answer, Status)
    assert (completion.output if whole else completion.status) == case.answer, (case, completion)


def run(opened: Bench, name: str) -> None:
    """All cases of a name that the engine has, but no more than so many."""
    done = 0
    for case in CASES[name]():
        if takes(opened, case.operation):
            check(opened, case)
            case.operation.session = None
            done += 1
            if done == limit(case.operation):
                break
    if not done:
        pytest.skip("the engine has none of them")


@pytest.mark.filterwarnings(
    "ignore:Diffie-Hellman", "ignore::cryptography.utils.CryptographyDeprecationWarning"
)
def test_the_engines_have_answers_for_everything() -> None:
    """Nothing in their tables is left unexamined, but what is random, and what no public list is known of."""
    asked = {(case.operation.kind, case.operation.algorithm) for make in CASES.values() for case in make()}
    left: set[tuple[Kind, str]] = set()
    for function in (HPRE, SEC):
        with bench(function, generation=3) as opened:
            left |= {(row.kind, row.algorithm) for row in opened.device.capabilities} - asked
    random = {(kind, name) for kind, name in left if kind in (Kind.SIGN, Kind.PUBLIC_ENCRYPT, Kind.GENERATE)}
    assert {name.partition("-")[0] for _, name in random} == {"ecdsa", "rsa", "ec"}
    composed = {(kind, name) for kind, name in left if "-cbc-hmac-" in name}
    assert left - random - composed == {(Kind.NOP, "nop")}


KEYS = [
    name
    for name in CASES
    if name.partition(" ")[0].partition("-")[0] in ("rsa", "dh", "ecdsa", "ecdh", "x25519", "x448")
]


@pytest.mark.filterwarnings(
    "ignore:Diffie-Hellman", "ignore::cryptography.utils.CryptographyDeprecationWarning"
)
@pytest.mark.parametrize("name", KEYS)
def test_public_keys(hpre: Bench, name: str) -> None:
    run(hpre, name)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("name", [name for name in CASES if name not in KEYS])
def test_digests_and_ciphers(sec: Bench, name: str) -> None:
    run(sec, name)
