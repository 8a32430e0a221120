from __future__ import annotations

import asyncio
import json
import threading

from ..feed import Feed
from ..feed import Item
from ..live import new_posts
from .conftest import Browser


def item(number: int) -> Item:
    return {"id": number, "title": "T", "author": "ada", "url": f"/posts/{number}"}


def test_the_stream_gives_posts_as_events(ada: Browser, visitor: Browser) -> None:
    address = ada.publish("Fresh")
    with visitor.get("/live", headers={"Last-Event-ID": "0"}) as response:
        assert response.mimetype == "text/event-stream"
        events = response.get_data(as_text=True).split("\n\n")
    assert events[0] == "retry: 1000"
    number, kind, data = events[1].split("\n")
    assert (number, kind) == ("id: 4", "event: post")
    assert json.loads(data.removeprefix("data: ")) == {
        "id": 4,
        "title": "Fresh",
        "author": "ada",
        "url": address,
    }


def test_a_stream_without_news_ends_by_itself(visitor: Browser) -> None:
    with visitor.get("/live") as response:
        assert response.get_data(as_text=True) == "retry: 1000\n\n: nothing new\n\n"


def test_next_post_answers_with_what_came_after(ada: Browser, visitor: Browser) -> None:
    ada.publish("Fresh")
    answer = visitor.get("/api/posts/next?after=3").json
    assert answer is not None
    assert answer["post"]["title"] == "Fresh"
    assert visitor.get("/api/posts/next?after=4&timeout=0").status_code == 204


def test_next_post_wakes_up_when_a_post_is_published(ada: Browser, visitor: Browser) -> None:
    writer = threading.Timer(0.2, ada.publish, ["Fresh"])
    writer.start()
    answer = visitor.get("/api/posts/next?after=3&timeout=10").json
    writer.join()
    assert answer is not None
    assert answer["post"]["title"] == "Fresh"


def test_a_feed_may_be_fed_from_any_thread() -> None:
    async def listen() -> int:
        feed = Feed()
        with feed.listen() as queue:
            threading.Thread(target=feed.publish, args=[item(1)]).start()
            return (await asyncio.wait_for(queue.get(), 5))["id"]

    assert asyncio.run(listen()) == 1


def test_a_listener_who_comes_back_misses_nothing() -> None:
    async def listen(after: int | None) -> list[str]:
        return [event async for event in new_posts(feed, after, 0.05) if "id:" in event]

    feed = Feed(keep=3)
    for number in range(1, 6):
        feed.publish(item(number))
    assert len(asyncio.run(listen(after=4))) == 1
    assert len(asyncio.run(listen(after=0))) == 3
    assert asyncio.run(listen(after=None)) == []


def test_a_listener_whose_loop_is_gone_is_forgotten() -> None:
    feed = Feed()

    async def leave_open() -> None:
        feed.listen().__enter__()

    asyncio.run(leave_open())
    feed.publish(item(1))
    assert not feed._listeners
