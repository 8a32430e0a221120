"""The load of wrk, which takes far less processor time than a client in Python."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

from .answers import request_headers
from .load import Load
from .workloads import Workload

#: wrk counts in whole seconds; it is interrupted before that.
LONG = "600s"
SCRIPT = """
wrk.method = {method}
for name, text in pairs({{{headers}}}) do wrk.headers[name] = text end
local file = io.open({body}, "rb")
local body = file:read("*a")
file:close()
if #body > 0 then wrk.body = body end
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\n{{"requests": %d, "us": %d, "p50": %f, "p99": %f, "errors": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


def find() -> str | None:
    """Find wrk on this system."""
    return shutil.which("wrk")


def make_load(port: int, workload: Workload, cookie: str, seconds: float) -> Load:
    """Put a server on this machine under load.

    :raises ConnectionError: an answer is an error, or a connection is closed.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.lua"
        body = Path(folder) / "body"
        body.write_bytes(workload.body)
        script.write_text(write_script(workload, cookie, body), "utf-8")
        command = ["wrk", "-t1", f"-c{workload.connections}", f"-d{LONG}", f"-s{script}"]
        command += ["--timeout=30s", f"http://127.0.0.1:{port}{workload.path}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    return read_output(output)


def write_script(workload: Workload, cookie: str, body: Path) -> str:
    """Write the script that tells wrk what to send and to report."""
    headers = request_headers(workload, cookie)
    # wrk sets these itself.
    for name in ("Host", "Content-Length"):
        headers.pop(name, None)
    pairs = ", ".join(f"[{quote(name)}] = {quote(text)}" for name, text in headers.items())
    return SCRIPT.format(method=quote(workload.method), headers=pairs, body=quote(str(body)))


def quote(text: str) -> str:
    """Quote a string for Lua, which understands these escapes of JSON."""
    return json.dumps(text)


def read_output(output: str) -> Load:
    """Read what the script has reported.

    :raises ConnectionError: there were errors.
    """
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise ConnectionError(f"wrk says {output!r}")
    report: dict[str, t.Any] = json.loads(lines[-1])
    if report["errors"]:
        raise ConnectionError(f"wrk has seen {report!r}")
    return Load(
        report["requests"] / (report["us"] / 1e6),
        report["requests"],
        report["p50"] / 1e3,
        report["p99"] / 1e3,
    )
