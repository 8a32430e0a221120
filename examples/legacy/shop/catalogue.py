"""What there is to buy, and the basket, which is in the session."""

from __future__ import annotations

from flask import abort
from flask import Blueprint
from flask import flash
from flask import redirect
from flask import render_template
from flask import request
from flask import session
from flask import url_for
from werkzeug.wrappers import Response

bp = Blueprint("catalogue", __name__)

GOODS = {"ink": "A bottle of ink", "nib": "A steel nib", "paper": "A ream of paper"}


@bp.get("/")
def index() -> str:
    return render_template("shop/index.html", goods=GOODS)


@bp.get("/goods/<name>/")
def show(name: str) -> str:
    return render_template("shop/goods.html", name=name, title=GOODS.get(name) or abort(404))


@bp.route("/basket", methods=["GET", "POST"])
def basket() -> str | Response:
    if request.method == "GET":
        return render_template("shop/basket.html", goods=GOODS, basket=session.get("basket", {}))
    name = request.form["name"]
    if name not in GOODS:
        abort(400, "There is no such thing.")
    held = session.get("basket", {})
    session["basket"] = held | {name: held.get(name, 0) + 1}
    flash(f"{GOODS[name]} is in the basket.")
    return redirect(url_for(".basket"))
