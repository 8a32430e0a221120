"""The command lines of ``examples/deploy`` serve."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.kit.server import ROOT
from tests.kit.server import running

DEPLOY = ROOT / "examples" / "deploy"
README = (DEPLOY / "README.md").read_text(encoding="utf-8")
#: Commands that are named otherwise than their modules.
MODULES = {"waitress-serve": "waitress"}


def commands_under(heading: str) -> list[str]:
    """Give the command lines of a section."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\$ (.+)$", section, re.MULTILINE)


COMMANDS = [(face, line) for face in ("ASGI", "WSGI") for line in commands_under(face)]


@pytest.mark.parametrize(("face", "line"), COMMANDS)
def test_a_command_line_serves_over_its_protocol(face: str, line: str) -> None:
    # One worker: a server that is stopped while another starts takes its time.
    line = line.replace("8000", "0").replace("--workers 2", "--workers 1")
    program, *options = shlex.split(line)
    command = ["-m", MODULES.get(program, program), *options]
    with running(command, str(DEPLOY), {"GUNICORN_CMD_ARGS": "--no-control-socket"}) as server:
        assert json.loads(server.get("/"))["served over"] == face


def test_the_readme_has_every_server() -> None:
    programs = {line.split()[0] for _, line in COMMANDS}
    assert programs == {"uvicorn", "gunicorn", "granian", "hypercorn", "waitress-serve"}
    assert len(COMMANDS) == 9


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links == ["app.py", "nginx.conf"]
    assert all(Path(DEPLOY, link).exists() for link in links)
