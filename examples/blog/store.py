"""Every query of the blog; pages and API both go through here."""

from __future__ import annotations

import sqlite3
import typing as t

from asyncflask import current_app

from .db import get_db

TITLE_LIMIT = 120
BODY_LIMIT = 20_000
SELECT_POST = """
    SELECT post.*, user.name AS author FROM post JOIN user ON user.id = post.author_id
"""


class Page(t.NamedTuple):
    """One page of the list of posts, newest first."""

    posts: list[sqlite3.Row]
    number: int
    last: int
    total: int


def check_post(title: str, body: str) -> str | None:
    """Say what is wrong with a post, or None if it can be saved."""
    if not title or not body:
        return "A post needs a title and a text."
    if len(title) > TITLE_LIMIT:
        return f"The title has {len(title)} characters, {TITLE_LIMIT} are allowed."
    if len(body) > BODY_LIMIT:
        return f"The text has {len(body)} characters, {BODY_LIMIT} are allowed."
    return None


def list_posts(number: int) -> Page | None:
    """Read a page of posts; None if there is no such page."""
    size: int = current_app.config["POSTS_PER_PAGE"]
    total: int = get_db().execute("SELECT count(*) FROM post").fetchone()[0]
    last = max(1, -(-total // size))
    if not 1 <= number <= last:
        return None
    posts = get_db().execute(
        f"{SELECT_POST} ORDER BY post.id DESC LIMIT ? OFFSET ?", [size, (number - 1) * size]
    )
    return Page(posts.fetchall(), number, last, total)


def find_post(post_id: int) -> sqlite3.Row | None:
    """Read one post."""
    if post_id >= 2**63:  # an address may hold any number, sqlite's integers end here
        return None
    return one(f"{SELECT_POST} WHERE post.id = ?", post_id)


def add_post(author_id: int, title: str, body: str, image: str | None = None) -> sqlite3.Row:
    """Save a new post and read it back."""
    with get_db() as db:
        post_id = db.execute(
            "INSERT INTO post (author_id, title, body, image) VALUES (?, ?, ?, ?)",
            [author_id, title, body, image],
        ).lastrowid
    post = find_post(post_id or 0)
    if post is None:
        raise LookupError(f"Post {post_id!r} was deleted while it was being saved.")
    return post


def change_post(post_id: int, title: str, body: str, image: str | None) -> None:
    """Save a changed post."""
    with get_db() as db:
        db.execute(
            "UPDATE post SET title = ?, body = ?, image = ?,"
            " updated = strftime('%Y-%m-%dT%H:%M:%SZ', 'now') WHERE id = ?",
            [title, body, image, post_id],
        )


def delete_post(post_id: int) -> None:
    """Remove a post."""
    with get_db() as db:
        db.execute("DELETE FROM post WHERE id = ?", [post_id])


def add_user(name: str, password_hash: str) -> int | None:
    """Save a new user and give their id; None if the name is taken."""
    try:
        with get_db() as db:
            return db.execute(
                "INSERT INTO user (name, password) VALUES (?, ?)", [name, password_hash]
            ).lastrowid
    except sqlite3.IntegrityError:
        return None


def set_token_hash(user_id: int, token_hash: str) -> None:
    """Replace a user's API token."""
    with get_db() as db:
        db.execute("UPDATE user SET token_hash = ? WHERE id = ?", [token_hash, user_id])


def find_user(column: t.Literal["id", "name", "token_hash"], value: object) -> sqlite3.Row | None:
    """Read the user who has this value in a column."""
    return one(f"SELECT * FROM user WHERE {column} = ?", value)


def one(query: str, *values: object) -> sqlite3.Row | None:
    """Run a query that gives one row or none."""
    row: sqlite3.Row | None = get_db().execute(query, values).fetchone()
    return row
