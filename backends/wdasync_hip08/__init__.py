"""The emulated HiSilicon chip, a backend of wdasync.

A program that names the backend ``hip08`` works on a model of the Kunpeng 920 accelerator: descriptors, doorbells,
queue manager, SMMU and page faults are there byte for byte, and the driver in front of them is the one for silicon.
"""

from wdasync_hip08.backend import Hip08Backend, Hip08Device, machines
from wdasync_hip08.dumps import dump
from wdasync_hip08.machine import Machine
from wdasync_hip08.options import Options

__all__ = ["Hip08Backend", "Hip08Device", "Machine", "Options", "backend", "dump", "machines"]

#: The plug-in.
backend = Hip08Backend()
