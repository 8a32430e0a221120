"""A start-up or shutdown that fails, on a real server: nothing half-started is ever served."""

from __future__ import annotations

import pytest

from tests.kit.server import NotServing
from tests.kit.server import serve

pytestmark = pytest.mark.case("A36")

SOURCE = """
import contextlib
import os

from asyncflask import Flask

ERRORS = {
    "error": LookupError("no pool"),
    "group": ExceptionGroup("several", [LookupError("no pool"), OSError("no disk")]),
    "exit": SystemExit("no pool"),
    "exit with success": SystemExit(0),
    "interrupt": KeyboardInterrupt("no pool"),
}


def reach(place):
    # One write, which no other thread's can come between.
    print(f"reached {place}\\n", end="", flush=True)
    if place in os.environ.get("FAIL", "").split(","):
        raise ERRORS[os.environ["HOW"]]


@contextlib.asynccontextmanager
async def lifespan(app):
    reach("lifespan")
    try:
        yield
    finally:
        reach("end of lifespan")


app = Flask(__name__, lifespan=lifespan)
app.get("/")(lambda: "served")


@app.before_serving
def before_sync():
    reach("before_sync")


@app.before_serving
async def before_async():
    reach("before_async")


@app.while_serving
async def while_async():
    reach("while_async")
    yield
    reach("end of while_async")


@app.while_serving
def while_sync():
    reach("while_sync")
    yield
    reach("end of while_sync")


@app.after_serving
async def after_async():
    reach("after_async")


@app.after_serving
def after_sync():
    reach("after_sync")
"""
AFTER = ["after_sync", "after_async", "end of lifespan"]
#: What is reached when something fails there: all up to it, and the way back.
WAYS = {
    "lifespan": ["lifespan"],
    "before_sync": ["lifespan", "before_sync", *AFTER],
    "before_async": ["lifespan", "before_sync", "before_async", *AFTER],
    "while_async": ["lifespan", "before_sync", "before_async", "while_async", *AFTER],
    "while_sync": [
        *["lifespan", "before_sync", "before_async", "while_async", "while_sync"],
        *["end of while_async", *AFTER],
    ],
}
WHOLE_END = ["end of while_sync", "end of while_async", *AFTER]
#: Each error at two places, tests/test_lifespan.py has them all.
FAILING = [
    ("error", "lifespan", "asyncio"),
    ("error", "while_async", "uvloop"),
    ("group", "before_async", "asyncio"),
    ("group", "while_sync", "uvloop"),
    ("exit", "before_sync", "asyncio"),
    ("exit", "while_async", "asyncio"),
    ("interrupt", "while_sync", "asyncio"),
    ("interrupt", "before_async", "uvloop"),
    ("interrupt", "lifespan", "uvloop"),
]


def reached(output: str) -> list[str]:
    """Give the places that were reached, in their order."""
    lines = output.splitlines()
    return [line.removeprefix("reached ") for line in lines if line.startswith("reached ")]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "where", "loop"), FAILING)
def test_nothing_is_served_and_what_was_opened_is_closed(how: str, where: str, loop: str) -> None:
    with pytest.raises(NotServing) as failure:
        with serve(SOURCE, loop=loop, env={"FAIL": where, "HOW": how}):
            raise AssertionError("it serves")
    assert failure.value.code != 0
    assert "no pool" in failure.value.output
    assert reached(failure.value.output) == WAYS[where]


def test_an_exit_with_success_is_a_failing_start_as_well() -> None:
    with pytest.raises(NotServing) as failure:
        with serve(SOURCE, env={"FAIL": "before_async", "HOW": "exit with success"}):
            raise AssertionError("it serves")
    assert failure.value.code != 0
    assert reached(failure.value.output) == WAYS["before_async"]


def test_an_error_on_the_way_back_hides_neither_the_first_nor_the_rest() -> None:
    failing = "while_sync,after_sync,end of lifespan"
    with pytest.raises(NotServing) as failure:
        with serve(SOURCE, env={"FAIL": failing, "HOW": "error"}):
            raise AssertionError("it serves")
    assert failure.value.code != 0
    assert "no pool" in failure.value.output
    assert reached(failure.value.output) == WAYS["while_sync"]


@pytest.mark.parametrize(
    ("how", "failing"), [("error", WHOLE_END[:1]), ("group", WHOLE_END), ("exit", WHOLE_END[2:3])]
)
def test_every_function_is_tried_at_a_shutdown_that_fails(how: str, failing: list[str]) -> None:
    with serve(SOURCE, env={"FAIL": ",".join(failing), "HOW": how}) as server:
        assert server.get("/") == "served"
        server.stop()
    assert reached(server.output)[-len(WHOLE_END) :] == WHOLE_END
    for text in ("no pool", "shutdown failed"):
        assert text in server.output
