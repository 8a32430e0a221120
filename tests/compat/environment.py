"""Fetches Flask's source distribution and makes the environment its tests run in."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FLASK_VERSION = "3.1.3"
ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "compat"
#: Flask's tests use a private name of pytest that version 9 no longer has; greenlet
#: and the extras are there so that no test is skipped.
REQUIREMENTS = ("pytest<9", f"flask[async,dotenv]=={FLASK_VERSION}", "greenlet")
INSTALL_TIMEOUT = 900


@dataclass(frozen=True)
class Suite:
    """Where tests of Flask's are and which interpreter runs them."""

    folder: Path
    python: Path

    @property
    def name(self) -> str:
        """What it is called in messages and files."""
        return self.folder.name

    def example(self, name: str) -> Suite:
        """Give the tests of one of Flask's examples."""
        return Suite(self.folder / "examples" / name, self.python)


@contextmanager
def exclusive() -> Iterator[None]:
    """Let one run at a time work in the cache; a second one waits for the first."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another run to end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare() -> Suite:
    """Make sure that the suite and its environment are in the cache.

    :returns: the suite; a second call finds everything there.
    """
    return Suite(folder=_fetch_flask(), python=_make_environment())


def _fetch_flask() -> Path:
    folder = CACHE / f"flask-{FLASK_VERSION}"
    if folder.is_dir():
        return folder
    print(f"fetching the source distribution of Flask {FLASK_VERSION}", flush=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        command = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", scratch]
        _pip(Path(sys.executable), *command, f"flask=={FLASK_VERSION}")
        (archive,) = Path(scratch).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            # Releases of Python 3.11 before 3.11.4 do not have the filter.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(scratch)
        # Moved in one step: an interrupted run must not leave half a suite behind.
        (Path(scratch) / folder.name).rename(folder)
    return folder


def _make_environment() -> Path:
    folder = CACHE / "environment"
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    wanted = _fingerprint()
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print("installing Flask, asyncflask and what the tests need", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=INSTALL_TIMEOUT)
    _pip(python, "install", "--quiet", *REQUIREMENTS, "--editable", os.fspath(ROOT))
    stamp.write_text(wanted)
    return python


def _fingerprint() -> str:
    """Tell when the environment has to be made anew."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parts = [sys.version, *REQUIREMENTS, repr(project)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _pip(python: Path, *arguments: str) -> None:
    subprocess.run([python, "-m", "pip", *arguments], check=True, timeout=INSTALL_TIMEOUT)
