"""Users: registration, log in and out, API tokens, and who is asking."""

from __future__ import annotations

import functools
import hashlib
import re
import secrets
import sqlite3
import typing as t
from collections.abc import Callable

from werkzeug.security import check_password_hash
from werkzeug.security import generate_password_hash

from asyncflask import Blueprint
from asyncflask import current_app
from asyncflask import flash
from asyncflask import g
from asyncflask import redirect
from asyncflask import render_template
from asyncflask import request
from asyncflask import session
from asyncflask import url_for
from asyncflask.typing import ResponseReturnValue

from . import store
from .csrf import has_bearer_token

bp = Blueprint("auth", __name__)


def current_user() -> sqlite3.Row | None:
    """The user who sends this request, by API token or by session; looked up once."""
    if "user" not in g:
        if has_bearer_token() and request.authorization:
            g.user = store.find_user("token_hash", hash_token(request.authorization.token or ""))
        else:
            g.user = store.find_user("id", session["user_id"]) if "user_id" in session else None
    user: sqlite3.Row | None = g.user
    return user


@bp.app_context_processor
def offer_user() -> dict[str, sqlite3.Row | None]:
    """Let every template know ``user``."""
    return {"user": current_user()}


def login_required(view: Callable[..., ResponseReturnValue]) -> Callable[..., ResponseReturnValue]:
    """Send a visitor who is not logged in to the log-in page, and back here afterwards."""

    @functools.wraps(view)
    def guarded(**values: t.Any) -> ResponseReturnValue:
        if current_user() is not None:
            return view(**values)
        if request.method == "GET" and request.endpoint:
            session["after_login"] = url_for(request.endpoint, **values)
        flash("Please log in first.", "info")
        return redirect(url_for("auth.login"))

    return guarded


@bp.route("/register", methods=["GET", "POST"])
def register() -> ResponseReturnValue:
    """Open an account."""
    if request.method == "GET":
        return render_template("auth/register.html")
    name, password = request.form.get("name", "").strip(), request.form.get("password", "")
    problem = check_account(name, password)
    if problem is None:
        method = current_app.config["PASSWORD_METHOD"]
        user_id = store.add_user(name, generate_password_hash(password, method))
        if user_id is not None:
            return log_in(user_id, f"Welcome, {name}!")
        problem = f"The name {name} is taken."
    flash(problem, "error")
    return render_template("auth/register.html", name=name), 400


def check_account(name: str, password: str) -> str | None:
    """Say what is wrong with a name and a password, or None if they will do."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{3,30}", name):
        return "A name has 3 to 30 letters, digits, hyphens or underscores."
    if not 8 <= len(password) <= 200:
        return "A password has at least 8 characters (and at most 200)."
    return None


@bp.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    """Log in."""
    if request.method == "GET":
        return render_template("auth/login.html")
    name = request.form.get("name", "").strip()
    user = store.find_user("name", name)
    if user and check_password_hash(user["password"], request.form.get("password", "")):
        return log_in(user["id"], f"Good to see you, {user['name']}.")
    flash("Name and password do not match.", "error")
    return render_template("auth/login.html", name=name), 400


def log_in(user_id: int, greeting: str) -> ResponseReturnValue:
    """Start a fresh session for the user and go where they wanted to go."""
    target = session.get("after_login") or url_for("posts.index")
    session.clear()
    session["user_id"] = user_id
    flash(greeting, "success")
    return redirect(target)


@bp.post("/logout")
def logout() -> ResponseReturnValue:
    """Log out."""
    session.clear()
    flash("You are logged out.", "info")
    return redirect(url_for("posts.index"))


@bp.route("/account", methods=["GET", "POST"])
@login_required
def account() -> ResponseReturnValue:
    """Show the account; a POST makes a new API token, which is shown this once."""
    token = None
    if request.method == "POST":
        token = secrets.token_urlsafe(24)
        store.set_token_hash(g.user["id"], hash_token(token))
    return render_template("auth/account.html", token=token)


def hash_token(token: str) -> str:
    """What the database keeps of an API token."""
    return hashlib.sha256(token.encode()).hexdigest()
