"""The application that the command lines of README.md serve."""

from __future__ import annotations

import asyncio

from asyncflask import Flask
from asyncflask import request
from asyncflask import url_for

app = Flask(__name__)
app.config["TRUSTED_HOSTS"] = ["example.com", "localhost", "127.0.0.1"]


@app.get("/")
async def index() -> dict[str, str | None]:
    await asyncio.sleep(0)
    return {
        "served over": "WSGI" if request.scope is None else "ASGI",
        "url": url_for("index", _external=True),
        "client": request.remote_addr,
    }
