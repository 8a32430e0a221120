"""Files over real connections: no way out of the folder, no hang, never a shorter file."""

from __future__ import annotations

import contextlib
import http.client
import ntpath
import os
import shutil
import tempfile
import threading
import time
import types
import typing as t
from pathlib import Path

import pytest
import werkzeug.security
from werkzeug.exceptions import NotFound

from asyncflask import Flask
from asyncflask import send_from_directory
from tests.kit.drive import fetch
from tests.kit.server import Connection
from tests.kit.server import serve
from tests.kit.server import Server
from tests.test_static import RAW_PATHS

pytestmark = pytest.mark.case("A31")

#: More than the buffers of a connection take in.
LARGE = 16 * 2**20
NOBODY = 65534

SERVED = """
    import os
    from pathlib import Path

    from starlette.responses import FileResponse

    from asyncflask import Flask
    from asyncflask import send_file

    root = Path(os.environ["SERVED_FILES"])
    app = Flask("app", root_path=str(root))

    @app.get("/sent/<name>")
    async def sent(name):
        return send_file(root / "static" / name)

    @app.get("/starlette/<name>")
    async def starlette(name):
        return FileResponse(root / "static" / name)
"""


@pytest.fixture(scope="module")
def root() -> t.Iterator[Path]:
    """An application's folder that everybody may enter, with secrets around ``static``."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        root = Path(folder, "app")
        for name in ("app/static/deep/digits.txt", "app/static/digits.txt"):
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, name).write_text("0123456789")
        for name in ("secret.txt", "app/secret.txt", "app/static2/secret.txt"):
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, name).write_text("SECRET")
        yield root


@pytest.fixture(scope="module", params=["h11", "httptools"])
def server(request: pytest.FixtureRequest, root: Path) -> t.Iterator[Server]:
    loop = {"h11": "asyncio", "httptools": "uvloop"}[request.param]
    env = {"SERVED_FILES": str(root)}
    with serve(SERVED, loop=loop, http=request.param, env=env) as server:
        yield server


def ask(server: Server, target: str) -> tuple[int, bytes]:
    """Send a target as it is, as no client would, and give status and body."""
    with server.connect() as connection:
        connection.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        response = connection.response()
        return response.status, response.read()


# -- paths that lead out --------------------------------------------------------------------------

PREFIXES = ("/static/", "/static//", "/static/deep/", "//static/", "/static/../static/", "/")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_no_target_on_the_wire_leads_out_of_the_folder(
    server: Server, prefix: str, figure: t.Callable[..., None]
) -> None:
    answers = {path: ask(server, prefix + path) for path in RAW_PATHS}
    for path, (status, body) in answers.items():
        # 400 comes from the server, for a target that is none.
        assert status in {400, 404, 308}, path
        assert b"SECRET" not in body and b"root:" not in body, path
    assert ask(server, "/static/digits.txt") == (200, b"0123456789")
    figure(f"{len(RAW_PATHS) * len(PREFIXES)} targets on each parser: 308, 400, 404")


@pytest.mark.parametrize("target", ["http://localhost/static/..%2fsecret.txt", "*", "static", "?"])
def test_no_target_of_another_form_does(server: Server, target: str) -> None:
    status, body = ask(server, target)
    assert status in {400, 404, 308} and b"SECRET" not in body


# -- what is no plain file, or not to be read -----------------------------------------------------


def make_odd_files(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    links = {"zero": "/dev/zero", "dangling": "nowhere", "loop": "loop", "escaping": ".."}
    for name, target in links.items():
        (folder / name).symlink_to(target)


NO_FILES = ["fifo", "zero", "dangling", "loop", "escaping", "deep", "", "digits.txt/x"]
NO_FILES += ["x" * 300, "x" * 5000, "x/" * 3000, "%00", "digits.txt%00"]


def test_what_is_no_file_is_not_there_and_holds_nothing_up(
    server: Server, root: Path, figure: t.Callable[..., None]
) -> None:
    static = root / "static"
    with contextlib.suppress(FileExistsError):
        make_odd_files(static)
    files = server.open_files
    began = time.monotonic()
    statuses = {ask(server, f"/static/{name}")[0] for name in NO_FILES for _ in range(3)}
    took = time.monotonic() - began
    assert statuses == {404}
    # A FIFO that was opened would keep its thread, and the answer, for ever.
    assert took < 20 and server.open_files <= files + 1
    figure(f"{3 * len(NO_FILES)} requests for what is no file: 404, {took:.1f} s in all")


@contextlib.contextmanager
def unprivileged() -> t.Iterator[None]:
    """Give up root's right to read everything, if the tests run as root."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(own)


@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
@pytest.mark.parametrize("closed", ["file", "folder"])
def test_what_must_not_be_read_is_not_there(root: Path, closed: str, transport: str) -> None:
    folder = root / "static" / f"{closed}-{transport}"
    folder.mkdir()
    (folder / "a.txt").write_text("SECRET")
    client = Flask("app", root_path=str(root)).test_client(transport=transport)
    path = f"/static/{folder.name}/a.txt"
    for warm_up in (path, "/static/missing"):
        # Whatever is imported at the first request may be root's alone.
        client.get(warm_up).close()
    target = folder if closed == "folder" else folder / "a.txt"
    target.chmod(0)
    with unprivileged():
        assert client.get(path).status_code == 404
    shutil.rmtree(folder)


# -- Windows --------------------------------------------------------------------------------------

DEVICES = ["CON", "con", "CON.txt.html", "deep/NUL", "NUL ", "nul. ", "NUL::$DATA", "COM1", "LPT9"]
DEVICES += ["COM\xb9", "CONIN$", "AUX.tar.gz", "deep/prn.css"]
SHARES = [r"\\host\share\x", r"\\?\C:\x", "//host/share/x", r"\windows\x", "C:/x", r"C:\x", r"..\x"]


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have paths judged as on Windows, and note which ones the file system is asked about."""
    asked: list[str] = []
    windows = types.SimpleNamespace(name="nt", path=ntpath)
    monkeypatch.setattr(werkzeug.security, "os", windows)
    monkeypatch.setattr(werkzeug.security, "_os_alt_seps", ["\\"])
    for name in ("isfile", "exists", "realpath", "getsize"):
        real = getattr(os.path, name)

        def noting(path: t.Any, *args: t.Any, real: t.Any = real, **kwargs: t.Any) -> t.Any:
            asked.append(str(path))
            return real(path, *args, **kwargs)

        monkeypatch.setattr(os.path, name, noting)
    return asked


@pytest.mark.parametrize("name", [*DEVICES, *SHARES])
async def test_devices_and_network_shares_are_refused_before_a_look_at_them(
    root: Path, name: str, asked_for: list[str]
) -> None:
    app = Flask("app", root_path=str(root))
    # Looking at a share sends the user's credentials to whoever runs the host.
    with app.test_request_context(), pytest.raises(NotFound):
        send_from_directory("static", name)
    assert (await fetch(app, "GET", f"/static/{name}")).status in {404, 308}
    assert [path for path in asked_for if "static" in path or "host" in path] == []


# -- files that change while they are sent --------------------------------------------------------

WAYS = [
    ("static", None),
    ("static", "bytes=1000-"),
    ("sent", None),
    ("sent", "bytes=1000-"),
    ("starlette", None),
    ("starlette", "bytes=1000-"),
    ("starlette", "bytes=0-9,1000-"),
]
each_way = pytest.mark.parametrize(("way", "asked"), WAYS)


def make_large(root: Path) -> Path:
    path = root / "static/large"
    with path.open("wb") as file:
        file.truncate(LARGE)
    return path


def shrink(path: Path) -> None:
    os.truncate(path, 500)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more" * 2**20)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("other")
    os.replace(other, path)


def begin(connection: Connection, way: str, asked: str | None) -> http.client.HTTPResponse:
    """Ask for the large file, and read its first bytes."""
    headers = {} if asked is None else {"Range": asked}
    connection.request("GET", f"/{way}/large", headers=headers)
    response = connection.response()
    assert len(response.read(100)) == 100
    return response


@each_way
def test_a_file_that_shrinks_is_cut_off_and_never_a_shorter_one(
    server: Server, root: Path, way: str, asked: str | None, figure: t.Callable[..., None]
) -> None:
    path = make_large(root)
    with server.connect() as connection:
        response = begin(connection, way, asked)
        shrink(path)
        with pytest.raises(http.client.IncompleteRead):
            response.read()
        # The connection ends here, whatever else was to be sent on it.
        assert connection.raw() == b""
    assert ask(server, "/static/digits.txt")[0] == 200
    figure("shrinks while it is sent: cut off")


@each_way
@pytest.mark.parametrize("change", [grow, replace], ids=["grows", "is replaced"])
def test_a_file_that_changes_otherwise_is_as_long_as_announced(
    server: Server,
    root: Path,
    change: t.Callable[[Path], None],
    way: str,
    asked: str | None,
    figure: t.Callable[..., None],
) -> None:
    path = make_large(root)
    with server.connect() as connection:
        response = begin(connection, way, asked)
        length = response.length
        change(path)
        assert len(response.read()) == length
        if (way, asked) == ("starlette", None) and change is grow:
            # It reads on, to the end of the file as it is then; the connection ends instead.
            assert connection.raw() == b""
            return
        connection.request("GET", "/static/digits.txt")
        assert connection.response().read() == b"0123456789"
    figure("grows or is replaced: as long as announced")


def test_a_file_that_grows_for_ever_ends(server: Server, root: Path) -> None:
    path = make_large(root)
    over = threading.Event()

    def go_on() -> None:
        with path.open("ab", buffering=0) as file:
            while not over.is_set() and file.tell() < 4 * LARGE:
                file.write(b"more" * 2**14)

    growing = threading.Thread(target=go_on)
    growing.start()
    try:
        for way in ("static", "starlette"):
            with server.connect() as connection, contextlib.suppress(http.client.IncompleteRead):
                begin(connection, way, None).read()
    finally:
        over.set()
        growing.join()
