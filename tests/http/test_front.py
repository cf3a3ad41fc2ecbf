"""The front finds the right door, and answers once whatever a door does."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from runyard.http.front import Door, Front
from runyard.http.guesses import Guesses, is_refusal
from runyard.model.errors import Busy, Conflict, Gone, Invalid, NotFound, RunyardError, TooLarge, Unavailable


def door(name: str) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": name.encode()})

    return app


def raising(error: Exception, *, late: bool = False) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if late:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    return app


def ask(
    front: Front, path: str, headers: list[tuple[bytes, bytes]] | None = None
) -> tuple[int, bytes, dict[str, str]]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": headers or [], "query_string": b""}
    asyncio.run(front(scope, receive, send))
    starts = [m for m in sent if m["type"] == "http.response.start"]
    assert len(starts) == 1
    body = b"".join(m.get("body", b"") for m in sent if m["type"] == "http.response.body")
    return starts[0]["status"], body, {k.decode(): v.decode() for k, v in starts[0]["headers"]}


FRONT = Front(
    doors=[
        Door("gitlab", ("/api/v4/",), door("gitlab")),
        Door("looker", ("/api/4.0/", "/api/logout"), door("looker")),
        Door("depot", ("/depot.",), door("depot")),
    ],
    git=door("git"),
    web=door("web"),
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/v4/projects", b"gitlab"),
        ("/api/4.0/login", b"looker"),
        ("//api/4.0/login", b"looker"),
        ("/api/logout", b"looker"),
        ("/depot.ci.v1.CIService/Run", b"depot"),
        ("/group/name.git/info/refs", b"git"),
        ("/group/name", b"web"),
        ("/", b"web"),
        ("/api/unknown", b"web"),
    ],
)
def test_each_path_has_one_door(path: str, name: bytes) -> None:
    assert ask(FRONT, path)[1] == name


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound(), 404),
        (Invalid("no"), 400),
        (Conflict(), 409),
        (Gone(), 410),
        (TooLarge(), 413),
        (Busy(retry_after_s=7), 429),
        (Unavailable(), 503),
    ],
)
def test_a_refusal_that_a_door_let_through_has_its_status(error: RunyardError, status: int) -> None:
    got, body, headers = ask(Front([], door("git"), raising(error)), "/x")
    assert got == status
    assert json.loads(body) == {"message": error.message}
    if status == 429:
        assert headers["retry-after"] == "7"


def test_a_door_that_breaks_tells_nothing_of_itself() -> None:
    status, body, _ = ask(Front([], door("git"), raising(ValueError("select secret from table"))), "/x")
    assert status == 500
    assert b"secret" not in body


def test_a_door_that_breaks_after_its_head_answers_no_second_time() -> None:
    status, body, _ = ask(Front([], door("git"), raising(ValueError(), late=True)), "/x")
    assert (status, body) == (200, b"")


def test_endless_headers_are_refused() -> None:
    assert ask(FRONT, "/", [(b"x", b"y" * 40_000)])[0] == 431


def test_too_many_refusals_from_one_address_become_429_but_valid_tokens_pass() -> None:
    status = [401]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status[0], "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    front = Front(doors=[], git=app, web=app)
    now = [0.0]
    front.guesses = Guesses(burst=3, refill_per_s=1, clock=lambda: now[0])
    assert [ask(front, "/x")[0] for _ in range(5)] == [401, 401, 401, 429, 429]
    got, body, headers = ask(front, "/x")
    assert (got, headers["retry-after"], "429" in json.loads(body)["message"]) == (429, "60", True)
    status[0] = 200
    assert ask(front, "/x")[0] == 200
    status[0] = 401
    now[0] = 2.0
    assert [ask(front, "/x")[0] for _ in range(3)] == [401, 401, 429]


def test_refusals_in_trailers_count_too() -> None:
    trailer = [(b"grpc-status", b"16"), (b"grpc-message", b"no")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b""})
        await send({"type": "http.response.trailers", "headers": trailer})

    front = Front(doors=[], git=app, web=app)
    front.guesses = Guesses(burst=2, refill_per_s=0, clock=lambda: 0.0)

    async def told() -> bytes:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await front(
            {"type": "http", "method": "POST", "path": "/x", "headers": [], "client": ("1.2.3.4", 5)},
            receive,
            send,
        )
        return bytes(dict(sent[-1]["headers"])[b"grpc-status"])

    assert [asyncio.run(told()) for _ in range(4)] == [b"16", b"16", b"8", b"8"]
    trailer[0] = (b"grpc-status", b"0")
    assert asyncio.run(told()) == b"0"


def test_the_count_of_refusals_has_a_bounded_memory() -> None:
    guesses = Guesses(burst=1, refill_per_s=0, addresses=100, clock=lambda: 0.0)
    assert all(guesses.refused(f"10.0.{i // 256}.{i % 256}") for i in range(1000))
    assert len(guesses._left) == 100


def test_what_counts_as_a_bad_token() -> None:
    assert is_refusal(401, "/api/v4/user", [])
    assert is_refusal(403, "/api/v4/jobs/request", [])
    assert not is_refusal(403, "/api/v4/jobs/1", [(b"Job-Status", b"canceled")])
    assert is_refusal(404, "/api/4.0/login", [])
    assert is_refusal(200, "/depot.ci.v1.CIService/GetRun", [(b"grpc-status", b"16")])
    assert not is_refusal(200, "/depot.ci.v1.CIService/GetRun", [(b"grpc-status", b"5")])
    assert not is_refusal(404, "/api/4.0/projects/x", [])


def test_no_answer_is_sniffed() -> None:
    assert ask(FRONT, "/api/v4/user")[2]["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("headers", "heard"),
    [
        ([(b"content-length", b"500000")], 5),
        ([(b"transfer-encoding", b"chunked")], 5),
        ([(b"content-length", b"500")], 0),
        ([(b"content-length", b"500000"), (b"expect", b"100-continue")], 0),
    ],
)
def test_a_large_refused_body_is_heard_before_the_refusal_is_sent(
    headers: list[tuple[bytes, bytes]], heard: int
) -> None:
    """Else a client that sends everything before it reads sees a broken pipe instead of its 413."""
    events: list[str] = []
    left = ["part"] * 4 + ["last"]

    async def receive() -> Any:
        events.append(left.pop(0))
        return {"type": "http.request", "body": b"x" * 100_000, "more_body": bool(left)}

    async def send(message: Any) -> None:
        events.append(message["type"])

    scope = {"type": "http", "method": "POST", "path": "/x", "headers": headers, "query_string": b""}
    asyncio.run(Front([], door("git"), raising(TooLarge("too large")))(scope, receive, send))
    assert events.index("http.response.start") == heard == len(events) - 2


def test_a_refused_body_is_not_heard_for_ever() -> None:
    count = 0

    async def receive() -> Any:
        nonlocal count
        count += 1
        return {"type": "http.request", "body": b"x" * (8 << 20), "more_body": True}

    async def send(message: Any) -> None:
        pass

    headers = [(b"content-length", b"9000000000000")]
    scope = {"type": "http", "method": "POST", "path": "/x", "headers": headers, "query_string": b""}
    asyncio.run(Front([], door("git"), raising(TooLarge("too large")))(scope, receive, send))
    assert count == 8
