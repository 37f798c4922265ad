"""What a descriptor lets whom do. (Arm DDI 0487, D8.4.)

Permissions are masks of six bits: read, write, fetch of unprivileged accesses, and the same of privileged ones.
"""

from __future__ import annotations

from wdasync_hip08.smmu.access import Op
from wdasync_hip08.smmu.regime import Stage1, Stage2

__all__ = [
    "AF",
    "ALL",
    "AP_READ_ONLY",
    "AP_TABLE_NO_USER",
    "AP_TABLE_READ_ONLY",
    "AP_USER",
    "DBM",
    "INHERITED",
    "NG",
    "READ",
    "S2AP_READ",
    "S2AP_WRITE",
    "WRITE",
    "WRITE_BIT",
    "is_device_memory",
    "needed",
    "stage1_permissions",
    "stage2_permissions",
]

READ, WRITE_BIT, FETCH = 1, 2, 4
PRIVILEGED = 3  # shift
ALL = 0b111_111
WRITE = 0b010_010

# Bits of a stage-1 leaf
AP_USER = 1 << 6  # unprivileged accesses are allowed
AP_READ_ONLY = 1 << 7
AF = 1 << 10  # access flag
NG = 1 << 11  # not global: belongs to one ASID
DBM = 1 << 51  # dirty bit modifier: read-only means clean, not forbidden
PXN = 1 << 53
UXN = 1 << 54

# Bits of a stage-1 table descriptor; each takes something away from everything below it.
PXN_TABLE = 1 << 59
UXN_TABLE = 1 << 60
AP_TABLE_NO_USER = 1 << 61
AP_TABLE_READ_ONLY = 1 << 62
INHERITED = PXN_TABLE | UXN_TABLE | AP_TABLE_NO_USER | AP_TABLE_READ_ONLY

# Bits of a stage-2 leaf
S2AP_READ = 1 << 6
S2AP_WRITE = 1 << 7
#: XN[1:0]: may an unprivileged, may a privileged access fetch instructions?
XN_LOW = 53
XN = {0: FETCH | FETCH << PRIVILEGED, 1: FETCH, 2: 0, 3: FETCH << PRIVILEGED}

_NEEDED: dict[tuple[Op, bool], int] = {
    ("R", False): READ,
    ("W", False): WRITE_BIT,
    ("X", False): FETCH,
    ("R", True): READ << PRIVILEGED,
    ("W", True): WRITE_BIT << PRIVILEGED,
    ("X", True): FETCH << PRIVILEGED,
}


def needed(op: Op, privileged: bool) -> int:
    """The permission bit that an access needs."""
    return _NEEDED[op, privileged]


def stage1_permissions(descriptor: int, inherited: int, stage: Stage1) -> int:
    """Mask that a stage-1 leaf grants, where ``inherited`` are the restrictions of the tables above it.

    A page that hardware may make dirty counts as writable. What unprivileged code can write, privileged code
    cannot execute; with WXN, nobody executes what he can write. With PAN, privileged data accesses keep off the
    pages of unprivileged ones.
    """
    writable = not descriptor & AP_READ_ONLY or (stage.hardware_dirty and bool(descriptor & DBM))
    writable = writable and not inherited & AP_TABLE_READ_ONLY
    user = bool(descriptor & AP_USER) and not inherited & AP_TABLE_NO_USER
    user_write = user and writable
    mask = 0
    if user:
        mask |= READ
    if user_write:
        mask |= WRITE_BIT
    if not (descriptor & UXN or inherited & UXN_TABLE or (stage.wxn and user_write)):
        mask |= FETCH
    if not (stage.pan and user):
        mask |= READ << PRIVILEGED
        if writable:
            mask |= WRITE_BIT << PRIVILEGED
    if not (descriptor & PXN or inherited & PXN_TABLE or user_write or (stage.wxn and writable)):
        mask |= FETCH << PRIVILEGED
    return mask


def stage2_permissions(descriptor: int, stage: Stage2) -> int:
    """Mask that a stage-2 leaf grants. Privilege matters for fetches only, and only with IDR3.XNX."""
    mask = 0
    if descriptor & S2AP_READ:
        mask |= READ | READ << PRIVILEGED
    if descriptor & S2AP_WRITE or (stage.hardware_dirty and descriptor & DBM):
        mask |= WRITE
    never = descriptor >> XN_LOW & 3
    return mask | XN[never if stage.by_privilege else never & 2]


def is_device_memory(descriptor: int, stage: Stage2) -> bool:
    """A stage-2 leaf maps Device memory: MemAttr[3:2] is zero, or, with forced write-back, MemAttr[2]."""
    memattr = descriptor >> 2 & 0xF
    return not memattr & (0b0100 if stage.forced_write_back else 0b1100)
