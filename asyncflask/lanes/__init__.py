"""Where user code runs: the loop lane, the thread lane, and every crossing between them."""

from .colours import ASYNC as ASYNC
from .colours import INLINE as INLINE
from .colours import SYNC as SYNC
from .colours import colour_of as colour_of
from .colours import inline as inline
from .colours import is_async as is_async
from .driver import Driver as Driver
from .driver import Lane as Lane
from .driver import Stage as Stage
from .driver import ThreadDriver as ThreadDriver
from .driver import call as call
from .driver import outside as outside
from .driver import run_here as run_here
from .driver import run_inline as run_inline
from .driver import run_sync as run_sync
from .driver import to_loop as to_loop
from .driver import to_thread as to_thread
from .portal import async_to_sync as async_to_sync
from .portal import background_loop as background_loop
from .portal import ensure_sync as ensure_sync
from .portal import iterate_async as iterate_async
from .portal import run_awaitable as run_awaitable
from .portal import runs_on_loop as runs_on_loop
from .workers import QueueFull as QueueFull
from .workers import workers_for as workers_for
