"""The development server's reloader, as a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import signal
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from tests.kit.server import LIMIT
from tests.kit.server import PAUSE
from tests.kit.server import running
from tests.kit.server import Server
from tests.test_program import PROGRAM
from tests.test_program import SERVED
from tests.test_program import started
from tests.test_program import write

RUN = ["--app", "served", "run", "-p", "0"]


def change(server: Server, file: Path, text: str, expected: str) -> None:
    """Change a file until its effect is seen: the first time the reloader may not watch yet."""
    answer = ""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        # At once, so that nobody reads the half of it.
        new = file.with_suffix(".new")
        new.write_text(textwrap.dedent(text), encoding="utf-8")
        new.replace(file)
        again = time.monotonic() + 1.0
        while time.monotonic() < again:
            # It is refused or cut off while one process goes and the next one comes.
            with contextlib.suppress(OSError, http.client.HTTPException):
                answer = server.get("/any/thing")
            if expected in answer:
                return
            time.sleep(PAUSE)
    raise AssertionError(f"{answer!r} is not {expected!r}:\n{server.output}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [[PROGRAM, "--as-flask", "--app", "served", "run", "--debug", "-p", "0"], ["served.py"]],
    ids=["command", "script"],
)
def test_reloader_survives_what_cannot_be_imported(tmp_path: Path, command: list[str]) -> None:
    text = SERVED + "\n    if __name__ == '__main__': app.run(port=0, debug=True)\n"
    write(tmp_path, served=text)
    with running(command, str(tmp_path)) as server:
        file = tmp_path / "served.py"
        assert server.get("/") == "first"
        change(server, file, "import not_there\n" + textwrap.dedent(text), "named 'not_there'")
        assert "No module named 'not_there'" in server.output
        change(server, file, "def broken(:\n" + textwrap.dedent(text), "SyntaxError")
        change(server, file, text.replace('"first"', '"mended"'), "mended")


@pytest.mark.slow
def test_reloader_watches_extra_files(tmp_path: Path) -> None:
    text = SERVED.replace('return "first"', "return text").replace(
        "import os\n", "import os\n    text = open('text.toml').read()\n"
    )
    write(tmp_path, served=text)
    file = tmp_path / "text.toml"
    file.write_text("first")
    args = ["--app", "served", "run", "--reload", "-p", "0", "--extra-files", "text.toml"]
    with started(tmp_path, *args) as server:
        assert server.get("/") == "first"
        change(server, file, "changed", "changed")


OWN_LOOP = "import asyncio\nasyncio.run(asyncio.sleep(0))\n" + textwrap.dedent(SERVED)


@pytest.mark.slow
@pytest.mark.parametrize("option", [["--debug"], ["--workers", "2"]], ids=["reloading", "workers"])
def test_a_module_may_run_a_loop_of_its_own(tmp_path: Path, option: list[str]) -> None:
    write(tmp_path, served=OWN_LOOP)
    with started(tmp_path, *RUN, *option) as server:
        assert server.get("/") == "first"


@pytest.mark.slow
def test_an_async_factory_is_reloaded(tmp_path: Path) -> None:
    factory = "async def create_app(): return app\n"
    write(tmp_path, served=textwrap.dedent(SERVED) + factory)
    args = ["--app", "served:create_app", "run", "-p", "0", "--debug"]
    with started(tmp_path, *args) as server:
        assert server.get("/") == "first"


ENDS = {
    "exit": ("raise SystemExit(9)\n", "SystemExit: 9"),
    "startup": (
        "@app.before_serving\nasync def fail(): raise LookupError('at startup')\n",
        "did not start",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_what_ends_the_process_is_told_and_may_be_mended(tmp_path: Path, end: str) -> None:
    write(tmp_path, served=SERVED)
    addition, told = ENDS[end]
    text = textwrap.dedent(SERVED)
    with started(tmp_path, *RUN, "--debug") as server:
        file = tmp_path / "served.py"
        assert server.get("/") == "first"
        change(server, file, text + addition, told)
        change(server, file, text.replace('"first"', '"mended"'), "mended")
    assert "leaked" not in server.output


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_nothing_is_left_of_a_stopped_reloader(tmp_path: Path, name: str) -> None:
    write(tmp_path, served=SERVED)
    with started(tmp_path, *RUN, "--debug") as server:
        assert server.get("/") == "first"
        children = server.children
        assert server.stop(signal.Signals[name]) == 0
        assert psutil.wait_procs(children, LIMIT)[1] == []


@pytest.mark.slow
def test_code_can_tell_that_it_runs_below_the_reloader(tmp_path: Path) -> None:
    told = "from werkzeug.serving import is_running_from_reloader\n" + textwrap.dedent(SERVED)
    write(tmp_path, served=told.replace('"first"', "str(is_running_from_reloader())"))
    with started(tmp_path, *RUN, "--debug") as server:
        assert server.get("/") == "True"
    with started(tmp_path, *RUN) as server:
        assert server.get("/") == "False"


@pytest.mark.slow
def test_excluded_patterns_take_whole_paths(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "deep"
    folder.mkdir(parents=True)
    write(folder, ignored="x = 1\n")
    text = textwrap.dedent(SERVED)
    write(tmp_path, served=text)
    patterns = f"{tmp_path}/made/*"
    with started(tmp_path, *RUN, "--debug", "--exclude-patterns", patterns) as server:
        change(server, tmp_path / "served.py", text.replace('"first"', '"seen"'), "seen")
        write(folder, ignored="x = 2\n")
        change(server, tmp_path / "served.py", text.replace('"first"', '"again"'), "again")
        assert "ignored.py" not in server.output


LOCAL_SCRIPT = """
    import sys
    from asyncflask import Flask

    def main(argument):
        app = Flask(__name__, static_folder=None)
        app.get("/<path:any>")(lambda any: f"first {argument} {__name__}")
        app.run(port=0, debug=True)

    if __name__ == "__main__":
        main(sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", [["served.py"], ["-m", "served"]], ids=["file", "module"])
def test_a_script_runs_again_as_it_did(tmp_path: Path, command: list[str]) -> None:
    write(tmp_path, served=LOCAL_SCRIPT)
    with running([*command, "given"], str(tmp_path)) as server:
        assert server.get("/x") == "first given __main__"
        file = tmp_path / "served.py"
        change(server, file, "import not_there\n", "named 'not_there'")
        change(server, file, "x = 1\n", "without app.run()")
        change(server, file, LOCAL_SCRIPT.replace("first", "mended"), "mended given __main__")
