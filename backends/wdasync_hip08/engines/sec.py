"""The SEC engine: ciphers, digests, and both together, by descriptors of type 2 and of type 3.

The engine writes the fields of bytes 112 to 115; the rest goes back as it came. What is asked for is in one of three
forms: a cipher alone, a hash alone, or both over one source (associated data, then text), where GCM and CCM are a form of their own
in which the cipher's mode brings the authentication.
"""

from __future__ import annotations

import enum
import hmac
from collections.abc import Generator, Mapping

from wdasync_hip08.engines.buffers import BadDescriptorError, Buffers, Ranges, cut
from wdasync_hip08.engines.ciphers import (
    CCM,
    CTR,
    GCM,
    SM4,
    TAGS,
    XTS,
    CodeError,
    ccm,
    crypt,
    crypt_narrow,
    gcm,
    hash_bytes,
    hash_of,
    iv_bytes,
    key_bytes,
)
from wdasync_hip08.port import DmaAbort, Port
from wdasync_hip08.qm.contexts import SqContext
from wdasync_hip08.qm.pairs import User
from wdasync_hip08.smmu import Stall, Verdict
from wdasync_hip08.tasks import Life, Task, Work
from wdasync_hip08.trace import Trace

__all__ = ["ENTRY_BYTES", "SecEngine", "SecError", "dump_entry"]

ENTRY_BYTES = 128
#: Longest text.
MAX_TEXT = 0xFFFE00

#: Descriptor type -> field -> the byte where its word begins, and its lowest and highest bit in it.
FIELDS: Mapping[int, Mapping[str, tuple[int, int, int]]] = {
    2: {
        "cipher": (0, 4, 5), "auth": (0, 6, 7), "order": (1, 0, 0), "to destination": (1, 1, 2), "scene": (1, 3, 6),
        "source list": (1, 7, 7), "destination list": (2, 2, 4), "hash IV given": (5, 0, 1), "unpadded": (5, 2, 3),
        "skip": (7, 7, 7), "MAC words": (8, 0, 4), "hash key words": (8, 5, 10), "hash": (8, 11, 16), "ICV bytes": (12, 0, 5),
        "stealing": (12, 6, 8), "key code": (12, 9, 11), "mode": (12, 12, 15), "algorithm": (14, 0, 3),
        "hash length": (16, 0, 23), "text length": (20, 0, 23), "hash offset": (24, 0, 15), "text offset": (26, 0, 15),
        "tag": (40, 0, 15), "hash IV": (56, 0, 63), "hash key": (64, 0, 63), "MAC": (72, 0, 63), "IV": (80, 0, 63),
        "key": (88, 0, 63), "source": (96, 0, 63), "destination": (104, 0, 63),
    },
    3: {
        "skip": (0, 4, 4), "scene": (0, 5, 8), "to destination": (0, 9, 10), "source list": (0, 11, 13),
        "destination list": (0, 14, 16), "cipher": (4, 0, 1), "ICV bytes": (4, 4, 9), "stealing": (4, 10, 12),
        "key code": (4, 13, 15), "mode": (6, 0, 3), "algorithm": (6, 4, 7), "order": (7, 6, 6), "tag": (8, 0, 63),
        "source": (16, 0, 63), "hash key": (24, 0, 63), "hash IV": (32, 0, 63), "key": (48, 0, 63), "auth": (56, 0, 1),
        "hash IV given": (56, 2, 3), "MAC words": (56, 4, 8), "hash key words": (56, 9, 14), "hash": (56, 15, 20), "counter": (56, 25, 26),
        "hash offset": (64, 0, 15), "text offset": (66, 0, 15), "hash length": (68, 0, 23), "text length": (72, 0, 23),
        "destination": (76, 0, 63), "MAC": (84, 0, 63), "IV": (92, 0, 63), "unpadded": (108, 0, 1),
    },
}  # fmt: skip

NO_CIPHER, ENCRYPT, DECRYPT, COPY = range(4)
NO_AUTH, COMPUTE, VERIFY = range(3)
STREAM = 7
#: Bits of the flag field, which the kernel's driver looks at.
AUTHENTICATED, CIPHERED = 1, 2
MATCH, MISMATCH = 1, 2
#: Of the field that says how wide CTR's counter is; type 2 has no such field, and this width.
COUNTER_128 = 2
#: The same field, of XTS with SM4: the tweak is doubled as GB/T 17964 has it. The model has IEEE 1619's.
GB_TWEAK = 1


class SecError(enum.IntEnum):
    """Byte 114. What silicon writes there is not published: these are the model's own."""

    NONE = 0
    #: The descriptor asks for something that the engine does not do, or the lengths do not fit.
    BAD_DESCRIPTOR = 0xE1
    #: An access to memory was refused, by the SMMU or by the bus.
    MEMORY = 0xE3


#: Version of the queue manager -> type of the descriptors that its engine takes.
TYPES: Mapping[int, int] = {2: 2, 3: 3}


class _Descriptor(dict[str, int]):
    """The fields of an entry, by name.

    :raises BadDescriptorError: the type is none
    """

    def __init__(self, entry: bytes) -> None:
        number = int.from_bytes(entry, "little")
        self.type = number & 0xF
        if self.type not in FIELDS:
            raise BadDescriptorError(f"descriptor type {self.type}")
        super().__init__(
            (name, number >> byte * 8 + low & (1 << high - low + 1) - 1)
            for name, (byte, low, high) in FIELDS[self.type].items()
        )


class SecEngine:
    """Ciphers and digests.

    :param generation: version of the queue manager before it

    :ivar refused: descriptors that it would not work on
    :ivar stuck: what it begins now it never ends
    """

    entry_bytes = ENTRY_BYTES

    def __init__(self, port: Port, trace: Trace, generation: int) -> None:
        self.refused = 0
        self.stuck = False
        self._type = TYPES[generation]
        self._port = port
        self._trace = trace

    def process(self, entry: bytes, context: SqContext, user: User, task: Task) -> Life:
        """Work on one entry; returns the entry to write back."""
        if self.stuck:
            yield Work(lambda: None, 0, endless=True)
        try:
            job = _Job(Buffers(self._port, user, task), self._decode(entry))
            self._trace.begin("engine", "sec", task.number)
            try:
                flag, icv = yield from job.run()
            finally:
                self._trace.end("engine", "sec", task.number)
            return _answer(entry, flag=flag, icv=icv)
        except DmaAbort as abort:
            self._trace.instant("engine", "refused", reason=str(abort))
            return _answer(entry, SecError.MEMORY)
        except BadDescriptorError as error:
            self.refused += 1
            self._trace.instant("engine", "refused", reason=str(error))
            return _answer(entry, SecError.BAD_DESCRIPTOR)

    def _decode(self, entry: bytes) -> _Descriptor:
        descriptor = _Descriptor(entry)
        if descriptor.type != self._type:
            raise BadDescriptorError(f"descriptor type {descriptor.type} to an engine of type {self._type}")
        return descriptor

    def __repr__(self) -> str:
        return f"<SecEngine, {self.refused} descriptors refused>"


#: What waits for memory and for work, and gives something in the end.
_Steps = Generator[Stall | Work, Verdict | object, bytes]


class _Job:
    """One entry in work."""

    def __init__(self, memory: Buffers, fields: _Descriptor) -> None:
        self._memory = memory
        self._fields = fields

    def run(self) -> Generator[Stall | Work, Verdict | object, tuple[int, int]]:
        """Flag and verdict on the tag, for the answer."""
        fields = self._fields
        if fields["skip"]:
            return 0, 0
        cipher, auth = fields["cipher"], fields["auth"]
        self._check(cipher, auth)
        if cipher and fields["mode"] in (GCM, CCM):
            icv = yield from self._combined(encrypt=cipher == ENCRYPT)
            return CIPHERED | AUTHENTICATED, icv
        if not auth:
            output = yield from self._crypt((yield from self._text()))
            yield from self._put(output)
            return CIPHERED, 0
        icv = yield from self._composed()
        return (CIPHERED if cipher else 0) | AUTHENTICATED, icv

    def _check(self, cipher: int, auth: int) -> None:
        fields = self._fields
        if auth > VERIFY or cipher == COPY or not (cipher or auth):
            raise BadDescriptorError(f"cipher {cipher} with authentication {auth}")
        given = fields["hash IV given"] and not (cipher and fields["mode"] in (GCM, CCM))
        if given or fields["unpadded"]:
            raise BadDescriptorError("a part of a hash")
        if (fields["algorithm"], fields["mode"], fields.get("counter")) == (SM4, XTS, GB_TWEAK):
            raise BadDescriptorError("XTS of SM4 by GB/T 17964")
        if fields["scene"] == STREAM and cipher:
            raise BadDescriptorError("a part of a text")
        lengths = [fields["text length"]] * bool(cipher) + [fields["hash length"]] * bool(auth)
        if max(lengths) > MAX_TEXT or (fields.type == 2 and not lengths[0]):
            raise BadDescriptorError(f"{lengths} bytes")
        self._check_tag(cipher, auth)

    def _check_tag(self, cipher: int, auth: int) -> None:
        """A tag longer than there are bytes of it could be called right by those alone."""
        fields = self._fields
        if cipher and fields["mode"] in TAGS:
            if fields["ICV bytes"] not in TAGS[fields["mode"]]:
                raise BadDescriptorError(f"a tag of {fields['ICV bytes']} bytes")
        elif auth:
            try:
                size = hash_bytes(fields["hash"])
            except CodeError as error:
                raise BadDescriptorError(str(error)) from None
            if not 0 < fields["MAC words"] * 4 <= size:
                raise BadDescriptorError(f"a MAC of {fields['MAC words']} words, of {size} bytes")

    # Memory

    def _read(self, address: int, nbytes: int) -> _Steps:
        return (yield from self._memory.read([(address, nbytes)])) if nbytes else b""

    def _ranges(self, end: str) -> Generator[Stall, Verdict, Ranges]:
        """Of source or destination."""
        if self._fields[f"{end} list"]:
            return (yield from self._memory.scatter_list(self._fields[end]))
        return [(self._fields[end], 1 << 32)]

    def _source(self, what: str) -> _Steps:
        """The text, or what is hashed."""
        fields = self._fields
        ranges = yield from self._ranges("source")
        wanted = cut(ranges, fields[f"{what} offset"], fields[f"{what} length"])
        return (yield from self._memory.read(wanted))

    def _text(self) -> _Steps:
        return (yield from self._source("text"))

    def _put(self, output: bytes) -> Generator[Stall, Verdict, None]:
        fields = self._fields
        ranges = yield from self._ranges("destination" if fields["to destination"] else "source")
        yield from self._memory.write(cut(ranges, fields["text offset"], len(output)), output)

    # Work

    def _do(self, work: Work) -> Generator[Stall | Work, Verdict | object, object]:
        result = yield work
        if isinstance(result, CodeError):
            raise BadDescriptorError(str(result))
        return result

    def _key(self) -> Generator[Stall | Work, Verdict | object, tuple[bytes, bytes]]:
        """Key and initial value."""
        fields = self._fields
        algorithm, mode = fields["algorithm"], fields["mode"]
        try:
            length = key_bytes(algorithm, mode, fields["key code"])
        except CodeError as error:
            raise BadDescriptorError(str(error)) from None
        key = yield from self._read(fields["key"], length)
        iv = yield from self._read(fields["IV"], iv_bytes(algorithm, mode))
        return key, iv

    def _crypt(self, text: bytes) -> _Steps:
        fields = self._fields
        key, iv = yield from self._key()
        algorithm, mode, encrypt = fields["algorithm"], fields["mode"], fields["cipher"] == ENCRYPT
        narrow = mode == CTR and fields.get("counter", COUNTER_128) != COUNTER_128

        def run() -> object:
            try:
                if narrow:
                    return crypt_narrow(algorithm, key, iv, text)
                return crypt(algorithm, mode, key, iv, text, encrypt=encrypt)
            except (CodeError, ValueError) as error:
                return CodeError(str(error))

        output = yield from self._do(Work(run, len(text)))
        assert isinstance(output, bytes)
        return output

    def _combined(self, *, encrypt: bool) -> Generator[Stall | Work, Verdict | object, int]:
        """GCM and CCM."""
        fields = self._fields
        key, iv = yield from self._key()
        algorithm, mode = fields["algorithm"], fields["mode"]
        first = (yield from self._read(fields["hash IV"], 16)) if mode == CCM else b""
        associated = yield from self._source("hash")
        text = yield from self._text()

        def run() -> object:
            try:
                if mode == CCM:
                    return ccm(algorithm, key, iv, first, text, associated, encrypt=encrypt)
                return gcm(algorithm, key, iv, text, associated, encrypt=encrypt)
            except (CodeError, ValueError) as error:
                return CodeError(str(error))

        result = yield from self._do(Work(run, len(text)))
        assert isinstance(result, tuple)
        output, tag = result
        yield from self._put(output)
        return (yield from self._judge(tag[: fields["ICV bytes"]], verify=not encrypt))

    def _composed(self) -> Generator[Stall | Work, Verdict | object, int]:
        """A hash, and perhaps a cipher before or after it."""
        fields = self._fields
        data = yield from self._source("hash")
        if fields["cipher"]:
            output = yield from self._crypt((yield from self._text()))
            if not fields["order"]:  # The hash is of what the cipher made.
                at = fields["text offset"] - fields["hash offset"]
                if not 0 <= at <= len(data) - len(output):
                    raise BadDescriptorError("a text outside of what is hashed")
                data = data[:at] + output + data[at + len(output) :]
            yield from self._put(output)
        key = yield from self._read(fields["hash key"], fields["hash key words"] * 4)
        code = fields["hash"]

        def run() -> object:
            try:
                return hash_of(code, key, data)
            except (CodeError, ValueError) as error:
                return CodeError(str(error))

        mac = yield from self._do(Work(run, len(data)))
        assert isinstance(mac, bytes)
        return (yield from self._judge(mac[: fields["MAC words"] * 4], verify=fields["auth"] == VERIFY))

    def _judge(self, mac: bytes, *, verify: bool) -> Generator[Stall | Work, Verdict | object, int]:
        """Store what was computed, or compare it with what is there."""
        if verify:
            given = yield from self._read(self._fields["MAC"], len(mac))
            return MATCH if hmac.compare_digest(given, mac) else MISMATCH
        yield from self._memory.write([(self._fields["MAC"], len(mac))], mac)
        return 0

    def __repr__(self) -> str:
        return f"<_Job of type {self._fields.type}: {self._memory!r}>"


def _answer(entry: bytes, error: SecError = SecError.NONE, *, flag: int = 0, icv: int = 0) -> bytes:
    done = 1 | icv << 1 | flag << 7
    return entry[:112] + done.to_bytes(2, "little") + bytes([error, 0]) + entry[116:]


def dump_entry(entry: bytes) -> str:
    """The fields of a descriptor that are not 0, one a line."""
    done = int.from_bytes(entry[112:114], "little")
    lines = [f"type {entry[0] & 0xF}, done {done & 1}, ICV {done >> 1 & 7}, error {entry[114]:#x}"]
    if entry[0] & 0xF in FIELDS:
        lines += [f"{name} {value:#x}" for name, value in _Descriptor(entry).items() if value]
    return "\n".join(lines)
