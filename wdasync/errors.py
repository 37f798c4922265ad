"""Every error that wdasync raises, and the one table that turns a device's status into an error.

``WouldBlock``, ``ClosedResourceError`` and ``BusyResourceError`` are anyio's own and are used as they are;
they are re-exported here so that one ``import`` reaches all.
"""

from __future__ import annotations

import enum
from functools import cache
from importlib import import_module
from typing import Self

from anyio import BusyResourceError, ClosedResourceError, WouldBlock

__all__ = [
    "BackendUnavailable",
    "BusyResourceError",
    "ClosedResourceError",
    "ConfigError",
    "DataCause",
    "DataError",
    "DeviceError",
    "ForeignLoopError",
    "InvalidArgument",
    "InvalidSignature",
    "InvalidState",
    "InvalidTag",
    "LimitExceeded",
    "OperationAborted",
    "OperationTimeout",
    "OutOfSpace",
    "PageFaultError",
    "Status",
    "UnsupportedOperation",
    "WdasyncError",
    "WouldBlock",
    "error_for",
]


class Status(enum.IntEnum):
    """How an operation ended, as the device reports it.

    The names and the rules for ``consumed`` and ``produced`` are those of DPDK's compression API
    (``RTE_COMP_OP_STATUS_*``), with a page fault and a device error added.
    """

    SUCCESS = 0
    #: The device cannot do this operation as described. Nothing consumed or produced.
    INVALID_ARGS = 1
    #: The session is in a state in which this operation is not allowed. Nothing consumed or produced.
    INVALID_STATE = 2
    #: The output did not fit and the operation is over; consumed and produced are not usable.
    OUT_OF_SPACE_TERMINATED = 3
    #: The output did not fit; ``produced`` bytes are good, go on from ``consumed``.
    OUT_OF_SPACE_RECOVERABLE = 4
    #: The data decoded but its check value (CRC-32, Adler-32, length, tag) is another, or a signature is wrong.
    CHECKSUM_FAILED = 5
    #: The input is not valid in its format.
    DATA_ERROR = 6
    #: The device touched memory that nobody supplied.
    PAGE_FAULT = 7
    #: The device failed or went away.
    DEVICE_ERROR = 8
    #: The queue was stopped before the operation ran to its end.
    ABORTED = 9


class DataCause(enum.Enum):
    """What is wrong with an input that cannot be decoded."""

    CORRUPT = "corrupt"
    TRUNCATED = "truncated"
    TRAILING_DATA = "trailing data"
    WRONG_FORMAT = "wrong format"
    CHECKSUM = "checksum"
    DICTIONARY = "dictionary"


class WdasyncError(Exception):
    """Base of all errors of this package; never raised itself.

    :ivar status: the status of the device that it stands for; ``None``: no operation ran to its end
    """

    status: Status | None = None

    def bare(self) -> Self:
        """The same without the frames that it came through: a result that is an error must not keep what they hold."""
        self.__context__ = None
        return self.with_traceback(None)

    def __new__(cls, *args: object, **keywords: object) -> Self:
        """Refuse the base itself."""
        if cls is WdasyncError:
            raise TypeError("WdasyncError is the common base: raise one of its subclasses")
        return super().__new__(cls, *args)


class InvalidArgument(WdasyncError, ValueError):
    """Raised when an argument has a value that no device can work with."""


class UnsupportedOperation(WdasyncError):
    """Raised when no configured backend can do the operation (algorithm, level, window, size)."""


class InvalidState(WdasyncError, RuntimeError):
    """Raised when a stream or session is finished, poisoned by a cancelled operation, or of a forked parent."""


class OutOfSpace(WdasyncError):
    """Raised when the output does not fit into the buffer that the caller gave.

    :ivar consumed: input bytes used up (meaningful if ``recoverable``)
    :ivar produced: output bytes that are good (meaningful if ``recoverable``)
    :ivar recoverable: whether the operation may be continued from there
    """

    def __init__(
        self, message: str, *, consumed: int = 0, produced: int = 0, recoverable: bool = False
    ) -> None:
        super().__init__(message)
        self.consumed = consumed
        self.produced = produced
        self.recoverable = recoverable


class LimitExceeded(OutOfSpace):
    """Raised when decompression would pass a bound: ``max_length`` bytes or ``max_members`` members."""


class DataError(WdasyncError, ValueError):
    """Raised when the input is not valid in its format.

    :ivar cause: a :class:`DataCause`
    """

    def __init__(self, message: str, *, cause: DataCause = DataCause.CORRUPT) -> None:
        super().__init__(message)
        self.cause = cause


class InvalidTag(DataError):
    """Raised when what is to be decrypted was not encrypted with this key, nonce and associated data.

    Where the package `cryptography` is installed, it is an :exc:`cryptography.exceptions.InvalidTag`, too.
    """


class InvalidSignature(DataError):
    """Raised when a signature is not one of this key for this data.

    Where the package `cryptography` is installed, it is an :exc:`cryptography.exceptions.InvalidSignature`, too.
    """


class PageFaultError(WdasyncError):
    """Raised when the device touched an address that has no memory, or the fault handler refused it."""


class DeviceError(WdasyncError, OSError):
    """Raised when the device failed or went away, and no other backend was allowed to take over."""


class OperationAborted(WdasyncError):
    """Raised when the queue was stopped while the operation was in flight."""


class OperationTimeout(WdasyncError, TimeoutError):
    """Raised when an operation took longer than its ``timeout``."""


class BackendUnavailable(WdasyncError, LookupError):
    """Raised when a backend is not installed, has no device here, or its device cannot be opened."""


class ConfigError(WdasyncError, ValueError):
    """Raised when a setting has an unknown name or a value of the wrong type."""


class ForeignLoopError(WdasyncError, RuntimeError):
    """Raised when an accelerator is used from another event loop, thread or process than its own."""


#: Status of a device -> the error that the caller sees. One row a status; SUCCESS has none.
ERRORS: dict[Status, type[WdasyncError]] = {
    Status.INVALID_ARGS: UnsupportedOperation,
    Status.INVALID_STATE: InvalidState,
    Status.OUT_OF_SPACE_TERMINATED: OutOfSpace,
    Status.OUT_OF_SPACE_RECOVERABLE: OutOfSpace,
    Status.CHECKSUM_FAILED: DataError,
    Status.DATA_ERROR: DataError,
    Status.PAGE_FAULT: PageFaultError,
    Status.DEVICE_ERROR: DeviceError,
    Status.ABORTED: OperationAborted,
}

#: What to do about it; the last clause of each message.
ADVICE: dict[Status, str] = {
    Status.INVALID_ARGS: "see Accelerator.capabilities() for what this backend can do",
    Status.INVALID_STATE: "reset the stream, or open a new one",
    Status.OUT_OF_SPACE_TERMINATED: "give a larger output buffer",
    Status.OUT_OF_SPACE_RECOVERABLE: "take what was produced and go on, or give a larger output buffer",
    Status.CHECKSUM_FAILED: "the input was damaged on its way here; fetch it again",
    Status.DATA_ERROR: "check that the input is complete and of the format you named",
    Status.PAGE_FAULT: "check that the buffer stays mapped, and what the fault handler answered",
    Status.DEVICE_ERROR: "run `python -m wdasync doctor`, or allow fallback",
    Status.ABORTED: "the accelerator was closed or its queue reset; submit again",
}


#: The advice with an argument that nobody could work with.
CORRECT_IT = "correct the argument"

#: Error of an authentication that failed -> its text. It says nothing of the data or the key.
REFUSALS: dict[type[WdasyncError], str] = {
    InvalidTag: "expected what was encrypted with this key, nonce and associated data, got something else",
    InvalidSignature: "expected a signature of this key for this data, got another",
}


@cache
def _as_cryptography(name: str) -> type[DataError]:
    """An error that whoever knows only `cryptography` catches, too; only ours, where that is not installed."""
    error_class: type[DataError] = globals()[name]
    try:
        theirs = getattr(import_module("cryptography.exceptions"), name)
    except ImportError:
        return error_class
    members = {"__module__": __name__, "__doc__": error_class.__doc__, "__reduce__": _reduce}
    return type(name, (error_class, theirs), members)


def _reduce(error: DataError) -> tuple[object, ...]:
    return _again, (type(error).__name__, error.args, error.cause, error.status)


def _again(name: str, args: tuple[object, ...], cause: DataCause, status: Status | None) -> DataError:
    """An error that was pickled."""
    error = _as_cryptography(name)(*args, cause=cause)  # type: ignore[arg-type]  # as they were
    error.status = status
    return error


def error_for(
    status: Status,
    where: str,
    message: str = "",
    *,
    cause: DataCause | None = None,
    consumed: int = 0,
    produced: int = 0,
    error_class: type[WdasyncError] | None = None,
) -> WdasyncError:
    """The error for a completion that is not a success.

    :param status: the status of the device
    :param where: the operation and who ran it, such as ``decompress gzip on cpu``
    :param message: the device's own words for what went wrong
    :param cause: what is wrong with the data, where the device knows
    :param consumed: input bytes used up
    :param produced: output bytes that are good
    :param error_class: what the status means here, where that is something else than in :data:`ERRORS`; ``None``: that
    """
    advice = CORRECT_IT if error_class is InvalidArgument else ADVICE[status]
    text = f"{where}: {message or status.name.lower().replace('_', ' ')}; {advice}"
    error: WdasyncError
    if status in (Status.OUT_OF_SPACE_TERMINATED, Status.OUT_OF_SPACE_RECOVERABLE):
        recoverable = status is Status.OUT_OF_SPACE_RECOVERABLE
        error = OutOfSpace(text, consumed=consumed, produced=produced, recoverable=recoverable)
    elif error_class in REFUSALS:
        text = f"{where}: {REFUSALS[error_class]}"
        error = _as_cryptography(error_class.__name__)(text, cause=DataCause.CHECKSUM)
    elif status is Status.CHECKSUM_FAILED:
        error = DataError(text, cause=DataCause.CHECKSUM)
    elif status is Status.DATA_ERROR:
        error = DataError(text, cause=cause or DataCause.CORRUPT)
    else:
        error = (error_class or ERRORS[status])(text)
    error.status = status
    return error
