"""Forks in the middle of signatures: what OpenSSL has locked then is not locked in the child, and no fork waits for long."""

from __future__ import annotations

import pytest

from tests.cpu.support import python
from wdasync_cpu import binding

pytestmark = pytest.mark.skipif(
    bool(binding.library_problem("openssl")) or not binding.library_signs(),
    reason="no OpenSSL that can be called: all is cryptography's",
)

SIGNER = """
import hashlib, os, signal, ssl, traceback, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which is what this is about
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from tests.cpu.support import drain, good, open_device, run
from wdasync.operations import Key, KeySpec, Sign
from wdasync_cpu.crypto import signers
from wdasync_cpu.crypto.keys import CpuKey

ALGORITHM, BITS = {algorithm!r}, {bits}
RSA = ALGORITHM == "rsa"
MATERIAL = rsa.generate_private_key(65537, BITS) if RSA else ec.generate_private_key(ec.SECP256R1())
HOW = (padding.PKCS1v15(), hashes.SHA256()) if RSA else (None, hashes.SHA256())
signers._worth_it[ALGORITHM, BITS] = True

class Signer:
    def __init__(self, depth=64):
        self.queue = open_device(threads=2).open_queue(depth)
        self.session = CpuKey(KeySpec(ALGORITHM, MATERIAL), natively=True)
        self.verify()
        assert self.session.signer is not None

    def operation(self):
        operation = Sign(Key(MATERIAL, "a key"), b"message", ALGORITHM, *HOW)
        operation.session = self.session
        return operation

    def verify(self):
        signature = good(run(self.queue, [self.operation()])[0])
        MATERIAL.public_key().verify(signature, b"message", *(HOW if RSA else [ec.ECDSA(hashes.SHA256())]))

    def is_native(self):
        return self.queue.statistics().extra["python"] == 1

def child():
    signal.alarm(20)  # ends what would wait for ever
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        assert len(hashlib.new("sha3_224", b"x").digest()) == 28
        mine = Signer()
        mine.verify()
        assert mine.is_native()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)

def fork():
    pid = os.fork()
    if not pid:
        child()
    return pid
"""

AGAIN = """
signer, free = Signer(), list(range(64))
queue = signer.queue
for number in range(40):
    free += [done.tag for done in queue.dequeue_burst(64)]
    assert queue.enqueue_burst([(tag, signer.operation()) for tag in free]) == len(free)
    free.clear()
    _, status = os.waitpid(fork(), 0)
    assert not status, f"child {{number}} of 40: {{os.waitstatus_to_exitcode(status)}}"
drain(queue, 64)
signer.verify()
assert signer.is_native()
queue.close()
print("all")
"""


@pytest.mark.parametrize(("algorithm", "bits"), [("rsa", 2048), ("ecdsa-p256", 256)])
def test_children_that_begin_in_the_middle(algorithm: str, bits: int) -> None:
    assert python((SIGNER + AGAIN).format(algorithm=algorithm, bits=bits)) == "all\n"


SOON = """
signer = Signer(512)
queue = signer.queue
assert queue.enqueue_burst([(tag, signer.operation()) for tag in range(512)]) == 512
while not (done := len(queue.dequeue_burst(64))):
    pass
pid = fork()
while count := len(queue.dequeue_burst(64)):
    done += count
queue.close()
_, status = os.waitpid(pid, 0)
assert not status
print("soon" if done < 256 else f"after {{done}}")
"""


def test_a_fork_does_not_wait_for_what_is_behind() -> None:
    """Two threads that sign all the time leave it no moment in which nobody does."""
    assert python((SIGNER + SOON).format(algorithm="rsa", bits=4096)) == "soon\n"


GONE = """
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from tests.cpu.test_gone import gone
signer = Signer()
for kind, data in [(hashes.SHA256(), gone(bytes(3 << 20), 2 << 20)), (Prehashed(hashes.SHA256()), gone(bytes(32)))]:
    operation = Sign(Key(MATERIAL, "a key"), data, ALGORITHM, HOW[0], kind)
    operation.session = signer.session
    (done,) = run(signer.queue, [operation])
    print(done.status.name)
assert signer.is_native()
_, status = os.waitpid(fork(), 0)
signer.queue.close()
print(status)
"""


def test_memory_that_went_away_holds_up_no_fork() -> None:
    assert python((SIGNER + GONE).format(algorithm="rsa", bits=2048)).split() == ["PAGE_FAULT"] * 2 + ["0"]
