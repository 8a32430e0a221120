from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from asyncflask import Flask

from .conftest import Browser

PNG = b"\x89PNG\r\n\x1a\n" + b"picture"


def picture_of(browser: Browser, address: str) -> str:
    found = re.search(r'<img class="cover" src="([^"]+)"', browser.get(address).text)
    assert found is not None
    return found[1]


def stored(app: Flask) -> list[str]:
    folder: Path = app.config["DATA"] / "images"
    return sorted(path.name for path in folder.iterdir() if path.name != "lanes.png")


def test_an_upload_comes_back_unchanged(ada: Browser, visitor: Browser) -> None:
    address = ada.publish(image=(io.BytesIO(PNG), "my cat.png"))
    source = picture_of(visitor, address)
    assert source.endswith("-my_cat.png")
    with visitor.get(source) as response:
        assert response.data == PNG
        assert response.mimetype == "image/png"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    with visitor.get(source, headers={"Range": "bytes=1-3"}) as response:
        assert (response.status_code, response.data) == (206, b"PNG")


def test_a_dangerous_name_stays_in_the_folder(app: Flask, ada: Browser) -> None:
    ada.publish(image=(io.BytesIO(PNG), "../../evil.png"))
    ada.publish(image=(io.BytesIO(PNG), "猫.png"))
    endings = sorted(name.partition("-")[2] for name in stored(app))
    assert endings == ["evil.png", "png.png"]


@pytest.mark.parametrize("content", [b"", b"<svg onload=alert(1)>", b"GIF is not enough"])
def test_what_is_no_picture_is_refused(app: Flask, ada: Browser, content: bytes) -> None:
    upload = (io.BytesIO(content), "picture.png")
    response = ada.submit("/posts/new", title="A title", body="A text.", image=upload)
    assert response.status_code == 400
    assert "must be a PNG" in response.text
    assert "A text." in response.text
    assert stored(app) == []


def test_an_upload_above_the_limit_is_413(app: Flask, ada: Browser) -> None:
    upload = (io.BytesIO(PNG + bytes(100_000)), "big.png")
    response = ada.submit("/posts/new", title="A title", body="A text.", image=upload)
    assert response.status_code == 413
    assert "too large" in response.text
    assert stored(app) == []


def test_a_picture_is_kept_replaced_and_removed(app: Flask, ada: Browser) -> None:
    address = ada.publish(image=(io.BytesIO(PNG), "one.png"))
    ada.submit(f"{address}/edit", title="T", body="B")
    assert stored(app)[0].endswith("one.png")
    ada.submit(f"{address}/edit", title="T", body="B", image=(io.BytesIO(PNG), "two.png"))
    assert [name.split("-")[1] for name in stored(app)] == ["two.png"]
    ada.submit(f"{address}/edit", title="T", body="B", remove_image="1")
    assert stored(app) == []


def test_a_deleted_post_takes_its_picture_along(app: Flask, ada: Browser) -> None:
    address = ada.publish(image=(io.BytesIO(PNG), "one.png"))
    ada.submit(address, action=f"{address}/delete")
    assert stored(app) == []
