"""Bodies for responses that note how they are used."""

from __future__ import annotations

import asyncio
import threading
import typing as t


class Source:
    """An async iterator that notes how much of it was taken, on which threads, and its closing.

    :param chunks: what it gives.
    :param waits_at: the number of the chunk before which it waits for ``go_on``, from 0.
    """

    def __init__(self, *chunks: t.Any, waits_at: int | None = None) -> None:
        self._chunks = list(chunks)
        self._waits_at = waits_at
        self.taken = 0
        self.closed = 0
        self.threads: set[int] = set()
        self.waiting = asyncio.Event()
        self.go_on = asyncio.Event()

    def __aiter__(self) -> Source:
        return self

    async def __anext__(self) -> t.Any:
        self.threads.add(threading.get_ident())
        if self.taken == self._waits_at:
            self.waiting.set()
            await self.go_on.wait()
        if self.taken == len(self._chunks):
            raise StopAsyncIteration
        self.taken += 1
        return self._chunks[self.taken - 1]

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self.threads.add(threading.get_ident())
        self.closed += 1


class SyncSource:
    """The same as a sync iterator, which never waits.

    :param chunks: what it gives.
    :param endless: whether it begins again after the last one.
    """

    def __init__(self, *chunks: t.Any, endless: bool = False) -> None:
        self._chunks = list(chunks)
        self._endless = endless
        self.taken = 0
        self.closed = 0
        self.threads: set[int] = set()

    def __iter__(self) -> SyncSource:
        return self

    def __next__(self) -> t.Any:
        self.threads.add(threading.get_ident())
        if self.taken == len(self._chunks) and not self._endless:
            raise StopIteration
        self.taken += 1
        return self._chunks[(self.taken - 1) % len(self._chunks)]

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed += 1
