"""The pool of threads on which sync user code runs.

Workers take jobs from one shared queue, so that under load a few threads do all the work and
nobody is woken for nothing. A worker whose request has gone back to the event loop *parks*: it
waits for that request alone and holds no slot meanwhile. Slots, not threads, are limited.
"""

from __future__ import annotations

import os
import threading
import typing as t
import weakref
from collections import OrderedDict
from queue import Empty
from queue import SimpleQueue

IDLE_SECONDS = 10.0
"""How long a thread without work lives on."""
IO_THREADS = 8
"""Threads for the framework's own work with files."""
SPARE = 4
"""Threads beyond the limit, for what still has to be run when no other is free."""

RETRY_AFTER = 1
"""Seconds after which a client that was refused for want of threads may come back."""


_every_pool: weakref.WeakSet[Workers] = weakref.WeakSet()


class Job(t.Protocol):
    """What a worker can run."""

    def run(self, worker: Worker | None) -> bool:
        """Do the work and say whether the worker must wait for more of the same request."""

    def deliver(self) -> None:
        """Tell whoever waits that the work is done; called once the slot is free again."""


class _Nothing:
    def run(self, worker: Worker | None) -> bool:
        return False

    def deliver(self) -> None:
        pass


class QueueFull(Exception):
    """There is no thread for a job, and it may not wait for one, or has waited too long."""


class Worker:
    """One thread and the inbox through which a single request can reach it.

    :param pool: the pool whose slots it takes.
    """

    __slots__ = ("inbox", "pool")

    def __init__(self, pool: Workers) -> None:
        self.inbox: SimpleQueue[Job | None] = SimpleQueue()
        self.pool = pool

    def recall(self, job: Job) -> None:
        """Have the parked worker go on with the request it is parked for; that waits for no slot.

        Others may hold every slot and wait for what that request holds.
        """
        self.pool.resume()
        self.inbox.put(job)


class Workers:
    """A pool of threads in which at most *limit* jobs begin to run at the same time.

    Threads start on demand and end after :data:`IDLE_SECONDS` without work. Jobs that find no
    free slot wait their turn, first come, first served. Urgent ones do not: they may be what those
    wait for who hold every slot, and have a few threads beyond the limit.

    :param limit: jobs that run at the same time.
    :param queue_limit: jobs that may wait beyond that; ``None`` for any number.
    :param queue_timeout: seconds that a job may wait; ``None`` for any time.
    """

    def __init__(
        self,
        limit: int = 40,
        queue_limit: int | None = None,
        queue_timeout: float | None = None,
    ) -> None:
        if limit < 1:
            raise ValueError(f"A worker pool needs at least one thread, not {limit!r}.")
        self.limit = limit
        self.queue_limit = queue_limit
        self.queue_timeout = queue_timeout
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        # Not a deque: who gives up leaves the queue from its midst.
        self._backlog: OrderedDict[Job, None] = OrderedDict()
        self._busy = 0
        # Workers in (or on their way to) the shared queue, less the jobs put there for them.
        self._idle = 0
        # Of which so many live on.
        self._kept = 0
        self._spare: Workers | None = None
        _every_pool.add(self)

    def submit(self, job: Job, urgent: bool = False) -> float | None:
        """Have *job* run; may be called on any thread and never blocks.

        :param urgent: whether the job may neither be refused nor wait for the others.
        :returns: seconds after which the caller has to :meth:`withdraw` a job that still waits;
            ``None`` if there is nothing to be done.
        :raises QueueFull: for a job that is not urgent, when ``queue_limit`` jobs wait; for any
            when there is no thread at all, nor can one be started.
        """
        with self._lock:
            if self._busy >= self.limit:
                return self._submit_to_spare(job) if urgent else self._enqueue(job)
            self._busy += 1
            hire = self._assign(job)
        if not hire or self._start(job):
            return None
        if not self._busy and self.withdraw(job):
            raise QueueFull("There is no thread, and none can be started.")
        return self.queue_timeout

    def withdraw(self, job: Job) -> bool:
        """Take *job* out of the queue; false if it does not wait there (any more)."""
        with self._lock:
            waits = job in self._backlog
            if waits:
                del self._backlog[job]
            spare = self._spare
        return waits or (spare is not None and spare.withdraw(job))

    def keep_thread(self) -> None:
        """Have a thread at hand from now on, also at a time when none can be started."""
        with self._lock:
            self._kept = 1
            hire = not (self._busy or self._idle)
        if hire:
            self.submit(_Nothing())

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

    def _enqueue(self, job: Job) -> float | None:
        if self.queue_limit is not None and len(self._backlog) >= self.queue_limit:
            raise QueueFull(f"All {self.limit} threads are busy, {self.queue_limit} jobs wait.")
        self._backlog[job] = None
        return self.queue_timeout

    def _submit_to_spare(self, job: Job) -> float | None:
        # Under the lock: a slot that is freed meanwhile would not find the job waiting.
        spare = self._spare = self._spare or Workers(SPARE)
        try:
            return spare.submit(job)
        except QueueFull:
            self._backlog[job] = None
            self._backlog.move_to_end(job, last=False)
            return self.queue_timeout

    def _next_waiting(self) -> Job | None:
        """Take whoever waits longest out of the queue, the urgent ones first."""
        urgent = None if self._spare is None else self._spare._give_up_one()
        if urgent is not None or not self._backlog:
            return urgent
        return self._backlog.popitem(last=False)[0]

    def _give_up_one(self) -> Job | None:
        with self._lock:
            return self._backlog.popitem(last=False)[0] if self._backlog else None

    def _assign(self, job: Job) -> bool:
        """Hand *job*, which has a slot, to an idle thread; true if one must be started for it."""
        if not self._idle:
            return True
        self._idle -= 1
        self._jobs.put(job)
        return False

    def _free_slot(self) -> Job | None:
        """Pass the slot on to whoever waits longest; gives the job that needs a new thread."""
        job = None if self._busy > self.limit else self._next_waiting()
        if job is None:
            self._busy -= 1
            return None
        return job if self._assign(job) else None

    def _start(self, job: Job) -> bool:
        """Start a thread for *job*, which has a slot; false if it has to wait for another one."""
        # In a list, since the thread keeps its arguments for as long as it runs.
        thread = threading.Thread(
            target=self._work, args=([job],), name="asyncflask-worker", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            # The system has no more threads. The next one that is done takes the job.
            with self._lock:
                self._busy -= 1
                self._backlog[job] = None
                self._backlog.move_to_end(job, last=False)
            return False
        return True

    def _work(self, first: list[Job]) -> None:
        job: Job | None = first.pop()
        worker = Worker(self)
        while job is not None:
            if job.run(worker):
                self.rest()
                job.deliver()
                # While the thread waits it keeps nothing of its last request alive.
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
            job = self._next_waiting() if self._busy < self.limit else None
            if job is not None:
                # One for which no thread could be started.
                self._busy += 1
                return job
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
                    if self._idle > self._kept:
                        self._idle -= 1
                        return None


_pools: dict[tuple[int, int | None, float | None], Workers] = {}
_pools_lock = threading.Lock()


def workers_for(limit: int, queue_limit: int | None, queue_timeout: float | None) -> Workers:
    """Give the process's pool of that kind; applications of equal settings share one."""
    key = (limit, queue_limit, queue_timeout)
    pool = _pools.get(key)
    if pool is None:
        with _pools_lock:
            pool = _pools.setdefault(key, Workers(*key))
    return pool


def io_workers() -> Workers:
    """Give the pool for the framework's own blocking work, which no user code can fill."""
    return workers_for(IO_THREADS, None, None)


def _begin_anew_after_fork() -> None:
    """Empty the pools, whose threads stayed in the parent; applications keep them."""
    global _pools_lock
    _pools_lock = threading.Lock()
    for pool in list(_every_pool):
        pool.__init__(pool.limit, pool.queue_limit, pool.queue_timeout)  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_after_fork)
