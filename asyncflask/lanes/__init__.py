"""Where user code runs: the loop lane, the thread lane, and every crossing between them."""

from .colours import ASYNC as ASYNC
from .colours import colour_of as colour_of
from .colours import INLINE as INLINE
from .colours import inline as inline
from .colours import is_async as is_async
from .colours import SYNC as SYNC
from .driver import Driver as Driver
from .driver import ThreadDriver as ThreadDriver
from .nested import run_here as run_here
from .nested import run_inline as run_inline
from .nested import run_sync as run_sync
from .portal import async_to_sync as async_to_sync
from .portal import background_loop as background_loop
from .portal import current_task as current_task
from .portal import ensure_sync as ensure_sync
from .portal import iterate_async as iterate_async
from .portal import run_awaitable as run_awaitable
from .portal import runs_on_loop as runs_on_loop
from .stage import call as call
from .stage import Lane as Lane
from .stage import outside as outside
from .stage import Stage as Stage
from .stage import to_loop as to_loop
from .stage import to_thread as to_thread
from .workers import QueueFull as QueueFull
from .workers import workers_for as workers_for
