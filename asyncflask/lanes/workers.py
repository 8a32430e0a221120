"""The pool of threads on which sync user code runs.

Workers take jobs from one shared queue, so that under load a few threads do all the work and
nobody is woken for nothing. A worker whose request has gone back to the event loop *parks*: it
waits for that request alone and holds no slot meanwhile. Slots, not threads, are limited.
"""

from __future__ import annotations

import os
import threading
import typing as t
from collections import deque
from queue import Empty
from queue import SimpleQueue

IDLE_SECONDS = 10.0
"""How long a thread without work lives on."""


class Job(t.Protocol):
    """What a worker can run."""

    def run(self, worker: Worker | None) -> bool:
        """Do the work and say whether the worker must wait for more of the same request."""

    def deliver(self) -> None:
        """Tell whoever waits that the work is done; called once the slot is free again."""


class QueueFull(Exception):
    """Every slot is taken and as many jobs wait as may."""


class Worker:
    """One thread and the inbox through which a single request can reach it."""

    __slots__ = ("inbox",)

    def __init__(self) -> None:
        self.inbox: SimpleQueue[Job | None] = SimpleQueue()


class Workers:
    """A pool of threads in which at most *limit* jobs begin to run at the same time.

    Threads start on demand and end after :data:`IDLE_SECONDS` without work. Jobs that find no
    free slot wait their turn, first come, first served. A worker that goes on with a request it
    has begun does not wait: others may hold every slot and wait for what that request holds.

    :param limit: jobs that run at the same time.
    :param queue_limit: jobs that may wait beyond that; ``None`` for any number.
    """

    def __init__(self, limit: int = 40, queue_limit: int | None = None) -> None:
        if limit < 1:
            raise ValueError(f"A worker pool needs at least one thread, not {limit!r}.")
        self.limit = limit
        self.queue_limit = queue_limit
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._backlog: deque[Job] = deque()
        self._busy = 0
        # Workers in (or on their way to) the shared queue, less the jobs put there for them.
        self._idle = 0

    def submit(self, job: Job, worker: Worker | None = None, urgent: bool = False) -> None:
        """Have *job* run; may be called on any thread and never blocks.

        :param worker: the parked worker that must run it; ``None`` for any.
        :param urgent: whether the job may not be refused.
        :raises QueueFull: for a new job that is not urgent, when ``queue_limit`` jobs wait.
        """
        if worker is not None:
            self.resume()
            worker.inbox.put(job)
            return
        with self._lock:
            if self._busy >= self.limit:
                if not urgent and self._is_full():
                    raise QueueFull(
                        f"All {self.limit} threads are busy, {self.queue_limit} jobs wait."
                    )
                self._backlog.append(job)
                return
            self._busy += 1
            hire = self._assign(job)
        if hire:
            self._start(job)

    def rest(self) -> None:
        """Give up the calling worker's slot while it waits for something else."""
        with self._lock:
            hire = self._free_slot()
        if hire is not None:
            self._start(hire)

    def resume(self) -> None:
        """Take a slot again after :meth:`rest`, over the limit if there is none."""
        with self._lock:
            self._busy += 1

    def _is_full(self) -> bool:
        return self.queue_limit is not None and len(self._backlog) >= self.queue_limit

    def _assign(self, job: Job) -> bool:
        """Hand *job*, which has a slot, to an idle thread; true if one must be started for it."""
        if not self._idle:
            return True
        self._idle -= 1
        self._jobs.put(job)
        return False

    def _free_slot(self) -> Job | None:
        """Pass the slot on to whoever waits longest; gives the job that needs a new thread."""
        if self._busy > self.limit or not self._backlog:
            self._busy -= 1
            return None
        job = self._backlog.popleft()
        return job if self._assign(job) else None

    def _start(self, job: Job) -> None:
        # In a list, since the thread keeps its arguments for as long as it runs.
        threading.Thread(
            target=self._work, args=([job],), name="asyncflask-worker", daemon=True
        ).start()

    def _work(self, first: list[Job]) -> None:
        job: Job | None = first.pop()
        worker = Worker()
        while job is not None:
            if job.run(worker):
                self.rest()
                job.deliver()
                # While the thread waits it keeps nothing of the last request alive.
                job = None
                following = worker.inbox.get()
                # Released from its parking place, it has no slot: that was given up above.
                job = following if following is not None else self._idle_until_needed()
            else:
                with self._lock:
                    following = self._free_slot()
                    if following is None:
                        self._idle += 1
                job.deliver()
                job = None
                job = following if following is not None else self._wait()

    def _idle_until_needed(self) -> Job | None:
        with self._lock:
            self._idle += 1
        return self._wait()

    def _wait(self) -> Job | None:
        """Wait for a job; ``None`` says that the thread is not needed any more."""
        while True:
            try:
                return self._jobs.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    # No idle worker uncounted for: a job is on its way to this very thread.
                    if self._idle:
                        self._idle -= 1
                        return None


_pools: dict[tuple[int, int | None], Workers] = {}
_pools_lock = threading.Lock()


def workers_for(limit: int, queue_limit: int | None) -> Workers:
    """Give the process's pool of that size; applications of equal settings share one."""
    key = (limit, queue_limit)
    pool = _pools.get(key)
    if pool is None:
        with _pools_lock:
            pool = _pools.setdefault(key, Workers(limit, queue_limit))
    return pool


def _forget_after_fork() -> None:
    global _pools_lock
    _pools.clear()
    _pools_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    # The threads stayed in the parent.
    os.register_at_fork(after_in_child=_forget_after_fork)
