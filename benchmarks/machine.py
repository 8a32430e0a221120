"""Where and when something was measured; neither the machine's name nor a path."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from pathlib import Path

PACKAGES = (
    "asyncflask",
    "starlette",
    "fastapi",
    "litestar",
    "quart",
    "flask",
    "werkzeug",
    "a2wsgi",
    "asgiref",
    "uvicorn",
    "uvloop",
    "httptools",
    "gunicorn",
)


def describe(*, quick: bool, client: str) -> dict[str, str]:
    """Describe a run.

    :param client: what makes the requests over HTTP.
    """
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "client": client,
        "run": "quick" if quick else "full",
        **{name: found for name in PACKAGES if (found := find_version(name))},
    }


def find_version(package: str) -> str | None:
    """Find which version of a package is installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Name the model of the processor."""
    if cpuinfo.exists():
        for line in cpuinfo.read_text("utf-8", "replace").splitlines():
            name, _, text = line.partition(":")
            if name.strip() == "model name":
                return text.strip()
    return platform.processor() or platform.machine()


def in_words(description: dict[str, str]) -> str:
    """Put a description into a paragraph."""
    known = {"date", "processor", "cores", "system", "python", "client", "run"}
    versions = ", ".join(
        f"{name} {text}" for name, text in description.items() if name not in known
    )
    return (
        f"{description['date']}, {description['processor']}, {description['cores']} cores, "
        f"{description['system']}, Python {description['python']}, asked by "
        f"{description['client']}, a {description['run']} run: {versions}."
    )
