"""Rings and tables as text, for people who look for what went wrong."""

from __future__ import annotations

from wdasync_hip08.machine import Machine
from wdasync_hip08.qm.contexts import CQE_BYTES, unpack_cqe
from wdasync_hip08.smmu.context_descriptor import ContextDescriptor
from wdasync_hip08.smmu.stream_table_entry import StreamTableEntry

__all__ = ["dump", "dump_queue", "dump_space"]


def dump(machine: Machine) -> str:
    """Everything that can be seen of a machine: its state and registers, each queue with its ring, each address space."""
    with machine.lock:
        parts = [machine.dump()]
        for name, node in machine.nodes.items():
            parts += [dump_queue(machine, name, number) for number in sorted(node.qm.queues)]
        parts += [dump_space(machine, pasid) for pasid in sorted(machine.spaces)]
    return "\n\n".join(parts)


def dump_queue(machine: Machine, name: str, number: int, entries: int = 4) -> str:
    """The contexts of a queue of a device, its last completions and the entries that they are for.

    :param entries: how many completions to go back
    :raises KeyError: there is no such queue
    """
    with machine.lock:
        node = machine.nodes[name]
        queue, pair = node.qm.queues[number], node.block.qm.queues.get(number)
        cq = node.block.qm.completion_queues.get(number)
        lines = [
            f"{name} queue {number}: {queue.depth} entries of {queue.entry_bytes} bytes, PASID {queue.pasid}"
        ]
        if pair is None or cq is None:
            return "\n".join([*lines, "  not started"])
        lines += [f"  {pair.sq}", f"  {cq}"]
        ram, share = machine.chip.memory.ram, queue.share.pa
        for back in range(min(entries, pair.completed), 0, -1):
            index = (cq.tail - back) % cq.depth
            slot, _, phase = unpack_cqe(ram.read(share + queue.cq_offset + index * CQE_BYTES, CQE_BYTES))
            lines.append(f"  CQE {index}: SQ index {slot}, phase {phase}")
            entry = ram.read(share + slot * queue.entry_bytes, queue.entry_bytes)
            lines += [f"    {line}" for line in node.function.dump(entry).splitlines()]
        return "\n".join(lines)


def dump_space(machine: Machine, pasid: int) -> str:
    """What the SMMU finds for a PASID: stream table entry, context descriptor, and every page that is mapped.

    :raises KeyError: nothing is bound to this PASID
    """
    with machine.lock:
        space, memory = machine.spaces[pasid], machine.chip.memory
        lines = [repr(space)]
        for stream in sorted(+space.users):
            entry = StreamTableEntry.unpack(memory.read(machine.iommu.entry(stream), 64))
            descriptor = ContextDescriptor.unpack(memory.read(machine.iommu.descriptor(stream, pasid), 64))
            lines += [f"  stream {stream:#x}: {entry!r}", f"  {descriptor!r}"]
        lines += [
            f"  {vpn << 12:#014x} → {page.frame.pa:#014x} {'rw' if page.writable else 'r-'} {page.grants}"
            for vpn, page in sorted(space.pages.items())
            if page.frame is not None
        ]
        return "\n".join(lines)
