"""Debian packages, found by apt and unpacked into a folder: nothing is installed, and root is not needed.

Everything about the kernel comes in one version, for which Debian has all parts at this moment: the image that boots,
the headers that modules are built with, and the source that uacce.c is taken from.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "SERIES",
    "Kernel",
    "Unavailable",
    "choose",
    "download",
    "find_kernel",
    "unpack",
    "with_dependencies",
]

#: What module/ is written for: Debian 12's kernel. Which version of it, apt says.
SERIES = "6.1"


class Unavailable(Exception):
    """Raised when this machine cannot have the guest: why, and what to do."""


class Kernel(NamedTuple):
    """One version of the kernel's packages.

    :ivar version: of all of them
    :ivar release: as ``uname -r`` will say
    """

    version: str
    release: str

    @property
    def packages(self) -> tuple[str, ...]:
        """Names, for apt."""
        common = self.release.removesuffix("-amd64")
        names = (
            f"linux-image-{self.release}",
            f"linux-headers-{self.release}",
            f"linux-headers-{common}-common",
            f"linux-kbuild-{SERIES}",
            f"linux-source-{SERIES}",
        )
        return tuple(f"{name}={self.version}" for name in names)


def output(*command: str, cwd: Path | None = None) -> str:
    """What a command says; in English.

    :raises Unavailable: it is not there, or fails
    """
    try:
        done = subprocess.run(
            command, cwd=cwd, env=os.environ | {"LC_ALL": "C"}, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]} is missing: the guest is made of Debian packages") from error
    if done.returncode:
        raise Unavailable(f"{' '.join(command[:3])}: {done.stderr.strip().splitlines()[-1:] or 'failed'}")
    return done.stdout


def newer(first: str, second: str) -> int:
    """As a key's comparison: which of two versions Debian takes for the newer one."""
    if first == second:
        return 0
    told = subprocess.run(["dpkg", "--compare-versions", first, "gt", second], check=False)
    return -1 if told.returncode else 1


def choose(
    table: Mapping[str, Iterable[str]], releases: Sequence[str], compare: Callable[[str, str], int] = newer
) -> Kernel:
    """The newest version for which everything exists.

    :param table: package -> versions that apt offers
    :param releases: kernels of which there is an image
    :raises Unavailable: there is none
    """
    offered = {name: set(versions) for name, versions in table.items()}
    whole = [
        Kernel(version, release)
        for release in releases
        for version in offered.get(f"linux-image-{release}", ())
        if all(
            version in offered.get(package.partition("=")[0], ())
            for package in Kernel(version, release).packages
        )
    ]
    if not whole:
        raise Unavailable(
            f"apt offers no version of Linux {SERIES} with image, headers and linux-source-{SERIES} (Debian 12 has one; "
            "is /var/lib/apt/lists empty? apt-get update)"
        )
    return max(whole, key=functools.cmp_to_key(lambda a, b: compare(a.version, b.version)))


def find_kernel() -> Kernel:
    """Ask apt.

    :raises Unavailable: it has none, or is not there
    """
    names = output("apt-cache", "pkgnames", f"linux-image-{SERIES}").split()
    pattern = re.compile(rf"linux-image-({re.escape(SERIES)}\.\d+-\d+-amd64)")
    releases = sorted(found[1] for name in names if (found := pattern.fullmatch(name)))
    wanted = {package.partition("=")[0] for release in releases for package in Kernel("", release).packages}
    table: dict[str, set[str]] = {}
    for line in output("apt-cache", "madison", *sorted(wanted)).splitlines() if wanted else ():
        name, version, _ = (word.strip() for word in line.split("|", 2))
        table.setdefault(name, set()).add(version)
    return choose(table, releases)


def with_dependencies(names: Sequence[str]) -> tuple[str, ...]:
    """These packages and what they need beside what is installed; those that are installed are left out.

    :raises Unavailable: apt does not know one
    """
    told = output("apt-get", "-s", "--no-install-recommends", "install", *names)
    return tuple(line.split()[1] for line in told.splitlines() if line.startswith("Inst "))


def download(packages: Sequence[str], folder: Path) -> list[Path]:
    """Fetch packages, and let apt check them.

    :raises Unavailable: they cannot be had
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if packages:
        output("apt-get", "-qq", "download", *packages, cwd=folder)
    return sorted(folder.glob("*.deb"))


def unpack(package: Path, folder: Path) -> None:
    """Put a package's files below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    output("dpkg", "-x", str(package), str(folder))
