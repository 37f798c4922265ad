"""Buffers from a pool: made once, bounded in number, counted, and given back.

An :class:`Mbuf` is one piece of memory with room before its data, the *headroom*, so that something can be put in front without moving
what is there: here the head of a response before its compressed body, which the accelerator has written. It is counted how many hold
it; the last one that lets go gives it back. A :class:`Mempool` has so many of them and no more. When it is empty, ``get`` gives ``None``:
the caller leaves its data where it is (back-pressure), or does without what it wanted the buffer for (a drop, counted).

As in DPDK there is a small cache before the ring of free buffers, the last one back being the first one out: its memory is still in
the processor's caches. A pool belongs to one thread.
"""

from __future__ import annotations

from .ring import Ring

__all__ = ["Mbuf", "Mempool"]

PAGE = 4096


class Mbuf:
    """A buffer: ``headroom`` free bytes, then ``len()`` bytes of data, then ``tailroom`` free bytes.

    :ivar pool: where it goes back to
    :ivar references: how many hold it
    """

    __slots__ = ("_end", "_memory", "_start", "pool", "references")

    def __init__(self, pool: Mempool, size: int) -> None:
        self.pool = pool
        self.references = 0
        self._memory = memoryview(bytearray(size))
        self._memory[::PAGE] = bytes(
            len(self._memory[::PAGE])
        )  # the kernel gives the pages now, not under load
        self._start = self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    def __repr__(self) -> str:
        return f"<Mbuf {self.headroom}+{len(self)}+{self.tailroom} bytes, {self.references} references>"

    @property
    def headroom(self) -> int:
        """Free bytes before the data."""
        return self._start

    @property
    def tailroom(self) -> int:
        """Free bytes behind the data."""
        return len(self._memory) - self._end

    def data(self) -> memoryview:
        """The data. Valid as long as the buffer is held."""
        return self._memory[self._start : self._end]

    def room(self) -> memoryview:
        """The free bytes behind the data, for somebody to write into; :meth:`append` says how much it was."""
        return self._memory[self._end :]

    def append(self, count: int) -> None:
        """So many bytes of the room are data now.

        :raises ValueError: if there are not so many
        """
        if not 0 <= count <= self.tailroom:
            raise ValueError(f"count: expected at most {self.tailroom} bytes of tailroom, got {count}")
        self._end += count

    def prepend(self, data: bytes | memoryview) -> None:
        """Put something in front. What is there stays where it is.

        :raises ValueError: if it is longer than the headroom
        """
        if len(data) > self.headroom:
            raise ValueError(f"data: expected at most {self.headroom} bytes of headroom, got {len(data)}")
        self._memory[self._start - len(data) : self._start] = data
        self._start -= len(data)

    def drop(self, count: int) -> None:
        """Take so many bytes away from the front.

        :raises ValueError: if there are not so many
        """
        if not 0 <= count <= len(self):
            raise ValueError(f"count: expected at most {len(self)} bytes, got {count}")
        self._start += count

    def reset(self, headroom: int) -> None:
        """No data, and so much headroom."""
        self._start = self._end = headroom

    def hold(self) -> Mbuf:
        """One more holds it."""
        self.references += 1
        return self

    def free(self) -> None:
        """One less. The last gives it back.

        :raises RuntimeError: if nobody held it: somebody has freed it twice
        """
        if self.references < 1:
            raise RuntimeError(f"{self!r}: expected a buffer that is held; it was freed twice")
        self.references -= 1
        if not self.references:
            self.pool.put(self)


class Mempool:
    """So many buffers.

    :param count: a power of two
    :param room: bytes of data in each
    :param headroom: bytes before them
    :param cache: buffers in the cache, at most
    :ivar exhausted: times that there was none to give
    """

    def __init__(self, count: int, room: int, headroom: int = 1024, cache: int = 32) -> None:
        self.count = count
        self.room = room
        self.headroom = headroom
        self.exhausted = 0
        self._cache: list[Mbuf] = []
        self._cached = cache
        self._free: Ring[Mbuf] = Ring(count)
        self._free.enqueue_bulk([Mbuf(self, headroom + room) for _ in range(count)])

    @property
    def in_use(self) -> int:
        """Buffers that somebody holds."""
        return self.count - len(self._free) - len(self._cache)

    def get(self) -> Mbuf | None:
        """An empty buffer, held once; ``None``: all are in use."""
        if not self._cache:
            self._cache += self._free.dequeue_burst(max(1, self._cached // 2))
        if not self._cache:
            self.exhausted += 1
            return None
        mbuf = self._cache.pop()
        mbuf.references = 1
        mbuf.reset(self.headroom)
        return mbuf

    def put(self, mbuf: Mbuf) -> None:
        """What :meth:`Mbuf.free` calls. Half of a full cache goes to the ring, in one burst."""
        if len(self._cache) >= max(1, self._cached):
            keep = self._cached // 2
            self._free.enqueue_bulk(self._cache[keep:])
            del self._cache[keep:]
        self._cache.append(mbuf)
