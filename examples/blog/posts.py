"""The pages: list, read, write, edit and delete posts. Everything here waits for the database,
so these are plain ``def`` views; the framework runs them on a worker thread."""

from __future__ import annotations

import sqlite3
import typing as t

from asyncflask import abort
from asyncflask import Blueprint
from asyncflask import flash
from asyncflask import g
from asyncflask import redirect
from asyncflask import render_template
from asyncflask import request
from asyncflask import send_from_directory
from asyncflask import url_for
from asyncflask.typing import ResponseReturnValue

from . import images
from . import live
from . import store
from .auth import login_required

bp = Blueprint("posts", __name__)


class Entry(t.NamedTuple):
    """What the form of a post has sent."""

    title: str
    body: str
    image: str | None


@bp.get("/")
def index() -> ResponseReturnValue:
    """List the posts, page by page."""
    page = store.list_posts(request.args.get("page", 1, type=int))
    return render_template("posts/index.html", page=page or abort(404))


@bp.get("/posts/<int:post_id>")
def detail(post_id: int) -> ResponseReturnValue:
    """Show one post."""
    return render_template("posts/detail.html", post=store.find_post(post_id) or abort(404))


@bp.get("/images/<name>")
def image(name: str) -> ResponseReturnValue:
    """Send an uploaded picture; its name never gets another content, so caches may keep it."""
    return send_from_directory(images.folder(), name, max_age=30 * 24 * 3600)


@bp.route("/posts/new", methods=["GET", "POST"])
@login_required
def create() -> ResponseReturnValue:
    """Write a post."""
    if request.method == "GET":
        return render_template("posts/form.html", post=None)
    entry = read_form(old_image=None)
    if entry is None:
        return render_template("posts/form.html", post=None), 400
    post = store.add_post(g.user["id"], *entry)
    live.announce(post)
    flash("Your post is published.", "success")
    return redirect(url_for(".detail", post_id=post["id"]))


@bp.route("/posts/<int:post_id>/edit", methods=["GET", "POST"])
@login_required
def edit(post_id: int) -> ResponseReturnValue:
    """Change a post of one's own."""
    post = own_post(post_id)
    if request.method == "GET":
        return render_template("posts/form.html", post=post)
    entry = read_form(old_image=post["image"])
    if entry is None:
        return render_template("posts/form.html", post=post), 400
    store.change_post(post_id, *entry)
    if entry.image != post["image"]:
        images.remove(post["image"])
    flash("Your changes are saved.", "success")
    return redirect(url_for(".detail", post_id=post_id))


@bp.post("/posts/<int:post_id>/delete")
@login_required
def delete(post_id: int) -> ResponseReturnValue:
    """Delete a post of one's own."""
    post = own_post(post_id)
    store.delete_post(post_id)
    images.remove(post["image"])
    flash(f"“{post['title']}” is deleted.", "info")
    return redirect(url_for(".index"))


def own_post(post_id: int) -> sqlite3.Row:
    """Read a post that the current user may change; 404 or 403 otherwise."""
    post = store.find_post(post_id) or abort(404)
    if post["author_id"] != g.user["id"]:
        abort(403, "Only its author can change a post.")
    return post


def read_form(old_image: str | None) -> Entry | None:
    """Read the form of a post and store the picture; None, and a message, if something is wrong."""
    title = request.form.get("title", "").strip()
    body = request.form.get("body", "").strip()
    problem = store.check_post(title, body)
    if problem is None:
        try:
            return Entry(title, body, chosen_image(old_image))
        except ValueError as error:
            problem = str(error)
    flash(problem, "error")
    return None


def chosen_image(old_image: str | None) -> str | None:
    """The picture after this form: a new one, none, or the one from before."""
    upload = request.files.get("image")
    if upload is not None and upload.filename:
        return images.save(upload)
    return None if "remove_image" in request.form else old_image
