"""Engines beside each other on one chip: one address space, one PASID, the same translations."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

import wdasync
from wdasync.operations import Compress, Digest, Key, Mac, Sign
from wdasync_hip08 import machines
from wdasync_hip08.functions import FUNCTIONS, HPRE, SEC
from wdasync_hip08.memory import PAGE
from wdasync_hip08.options import Options

from .entries import VA, Entries
from .test_sec import entry

pytestmark = pytest.mark.anyio


def power(queue: Entries, base: int, out: int) -> None:
    """HPRE: the cube of a number, modulo another."""
    key = queue.place((3).to_bytes(128, "big") + ((1 << 1023) + 1).to_bytes(128, "big"))
    given = queue.place(base.to_bytes(128, "big"))
    queue.run(struct.pack("<2I4Q24x", 1 << 30, 15, key, given, out, 1))


def test_what_one_has_translated_the_other_finds(new_machine: Any) -> None:
    machine = new_machine(functions=(HPRE, SEC))
    hpre = Entries(machine, HPRE)
    sec = Entries(machine, SEC, space=hpre.space, memory=hpre.memory)
    sec.free = VA + 32 * PAGE
    assert [*machine.spaces] == [hpre.space.pasid], "one PASID for both"
    digest, there = sec.room(32), VA + 40 * PAGE
    hash_it = entry(2, auth=1, hash=1, mac_words=8, hlen=128, src=there, mac=digest)
    sec.run(
        entry(2, auth=1, hash=1, mac_words=8, hlen=32, src=digest, mac=digest)
    )  # its rings are translated now
    power(hpre, 5, there)
    statistics = machine.chip.smmu.statistics
    walks, hits = statistics.walks, statistics.tlb_hits
    sec.run(hash_it)
    assert sec.peek(digest, 32) == hashlib.sha256((125).to_bytes(128, "big")).digest()
    assert statistics.walks == walks, "what HPRE wrote, SEC read by the same translations"
    assert statistics.tlb_hits > hits


async def test_all_engines_in_one_program() -> None:
    data = b"one page, three engines; " * 200
    async with wdasync.open_accelerator("hip08", fallback=False) as acc:
        (machine,) = machines()
        key = Key(b"a secret", "a secret")
        results = [
            await acc.execute(Compress(data, "gzip")),
            await acc.execute(Digest(data, "sha256")),
            await acc.execute(Mac(key, data, "hmac-sha1")),
        ]
        assert [result.device for result in results] == ["hisi_zip-0", "hisi_sec2-0", "hisi_sec2-0"]
        assert results[1].output == hashlib.sha256(data).digest()
        assert len(machine.spaces) == 1
        assert len(machine.nodes) == len(FUNCTIONS)
        key.revoke()
    assert not machine.alive


async def test_a_newer_chip_has_curves_and_more_modes() -> None:
    data = b"the same program; " * 100
    async with wdasync.open_accelerator("hip08", fallback=False, generation=3) as acc:
        found = {
            name: {(row.kind, row.algorithm) for row in table} for name, table in acc.capabilities().items()
        }
        curves = {algorithm for _, algorithm in found["hip08/hisi_hpre-0"]}
        assert {"rsa", "dh", "ecdsa-p384", "ecdh-secp256k1", "x25519", "x448"} <= curves
        assert {"aes-256-ctr", "aes-128-cmac", "sm4-gcm"} <= {
            algorithm for _, algorithm in found["hip08/hisi_sec2-0"]
        }
        packed = await acc.compress(data)
        assert await acc.decompress(packed) == data
        secret = Key(ec.generate_private_key(ec.SECP256R1()), "a key")
        result = await acc.execute(Sign(secret, data, "ecdsa-p256", None, hashes.SHA256()))
        secret.material.public_key().verify(result.output, data, ec.ECDSA(hashes.SHA256()))
        assert result.device == "hisi_hpre-0"
        secret.revoke()


async def test_the_older_one_does_not() -> None:
    async with wdasync.open_accelerator("hip08", fallback=False) as acc:
        (table,) = (table for name, table in acc.capabilities().items() if "hpre" in name)
        assert {row.algorithm for row in table} == {"nop", "rsa", "dh"}


def test_another_generation_is_refused() -> None:
    with pytest.raises(ValueError, match="generation: expected"):
        Options(generation=4)
