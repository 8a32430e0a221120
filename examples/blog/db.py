"""The database: one sqlite file in the data folder, one connection for each request."""

from __future__ import annotations

import secrets
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from asyncflask import current_app
from asyncflask import Flask
from asyncflask import g

HERE = Path(__file__).parent

WELCOME = [
    ("An API beside the pages", "api.txt", None),
    ("Two colours, one request", "colours.txt", None),
    ("Welcome to Inkwell", "welcome.txt", "lanes.png"),
]


def connect(folder: Path) -> sqlite3.Connection:
    """Open the database of a data folder; rows can be read by column name."""
    connection = sqlite3.connect(folder / "blog.sqlite", timeout=5)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def get_db() -> sqlite3.Connection:
    """The connection of the current request, opened when it is first asked for.

    Meant for ``def`` views and hooks: all of one request's run on the same thread, as sqlite asks.
    """
    if "db" not in g:
        g.db = connect(current_app.config["DATA"])
    connection: sqlite3.Connection = g.db
    return connection


def close_db(error: BaseException | None = None) -> None:
    """Close the request's connection, if there was one."""
    connection: sqlite3.Connection | None = g.pop("db", None)
    if connection is not None:
        connection.close()


def init_app(app: Flask) -> None:
    """Have the connection closed at the end of every request."""
    app.teardown_appcontext(close_db)


def prepare(folder: Path) -> str:
    """Create whatever is missing in the data folder.

    :returns: the secret key, which lies there too.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    key_file = folder / "secret_key"
    with closing(connect(folder)) as connection, connection:
        connection.executescript((HERE / "schema.sql").read_text("utf-8"))
        # The write lock also keeps server processes that start together out of each other's way.
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("SELECT count(*) FROM user").fetchone()[0] == 0:
            add_welcome_posts(connection, folder / "images")
        if not key_file.exists():
            key_file.touch(mode=0o600)
            key_file.write_text(secrets.token_hex(32), "ascii")
        return key_file.read_text("ascii")


def add_welcome_posts(connection: sqlite3.Connection, images: Path) -> None:
    """Fill an empty blog with three posts by a user who cannot log in."""
    author = connection.execute(
        "INSERT INTO user (name, password) VALUES ('inkwell', 'none')"
    ).lastrowid
    for title, text, image in WELCOME:
        if image:
            shutil.copyfile(HERE / "welcome" / image, images / image)
        connection.execute(
            "INSERT INTO post (author_id, title, body, image) VALUES (?, ?, ?, ?)",
            [author, title, (HERE / "welcome" / text).read_text("utf-8"), image],
        )
