"""`depot login`: asked without a token, approved on the page by a signed-in person, taken once."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import httpx
import pytest

from runyard.http import devices
from runyard.http.session import COOKIE, sign_in
from runyard.model.errors import Busy
from runyard.web.routes import site
from tests.dialects.depot_routes.conftest import House
from tests.services import ROOT

SERVICE = "/depot.cli.v1beta1.LoginService"


def start(house: House) -> Any:
    answer = house.request("POST", f"{SERVICE}/StartLogin", None, json={})
    assert answer.status_code == 200, answer.text
    return answer.json()


def finish(house: House, id: str) -> Any:
    data = f'{{"id": "{id}"}}'.encode()
    body = b"\0" + struct.pack(">I", len(data)) + data
    return house.request(
        "POST",
        f"{SERVICE}/FinishLogin",
        None,
        content=body,
        headers={"content-type": "application/connect+json"},
    )


def page(house: House, method: str, path: str, token: str = "", **more: Any) -> Any:
    async def send() -> Any:
        cookie = {COOKIE: await sign_in(house.services, token) or ""} if token else {}
        transport = httpx.ASGITransport(app=site(house.services, []))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://ci.test", cookies=cookie
        ) as client:
            return await client.request(method, path, **more)

    return house.run(send())


def test_a_person_lets_the_program_in_once(house: House) -> None:
    asked = start(house)
    path = httpx.URL(asked["approveUrl"]).path
    assert page(house, "GET", path).headers["location"].startswith("/sign-in?next=")
    shown = page(house, "GET", path, ROOT)
    assert "Let depot CLI in?" in shown.text and "root" in shown.text
    assert (
        page(
            house, "POST", path, ROOT, data={"answer": "yes"}, headers={"origin": "http://evil.test"}
        ).status_code
        == 403
    )
    assert "It is in" in page(house, "POST", path, ROOT, data={"answer": "yes"}).text
    said = finish(house, asked["id"]).content
    token = said.split(b'"token":"')[1].split(b'"')[0].decode()
    assert house.call("ListRuns", {}, token).status_code == 200
    assert b"not_found" in finish(house, asked["id"]).content
    assert asked["id"] not in str(house.write(lambda tx: tx.records(devices.WISH, None, None, devices._ALL)))


def test_no_is_no_and_time_runs_out(house: House) -> None:
    first, second = start(house), start(house)
    assert (
        "It stays out"
        in page(house, "POST", httpx.URL(first["approveUrl"]).path, ROOT, data={"answer": "no"}).text
    )
    assert b"not_found" in finish(house, first["id"]).content
    house.time[0] += devices.LIFE_MS + 1
    assert page(house, "GET", httpx.URL(second["approveUrl"]).path, ROOT).status_code == 404
    assert b"not_found" in finish(house, second["id"]).content
    assert b"not_found" in finish(house, "no-such-id").content


def test_the_program_hears_it_as_soon_as_it_is_said(house: House) -> None:
    asked = start(house)
    now = house.services.now()

    async def both() -> bytes:
        transport = httpx.ASGITransport(app=house.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://ci.test") as client:
            data = f'{{"id": "{asked["id"]}"}}'.encode()
            headers = {"content-type": "application/connect+json"}
            body = b"\0" + struct.pack(">I", len(data)) + data
            waiting = asyncio.create_task(
                client.post(f"{SERVICE}/FinishLogin", content=body, headers=headers)
            )
            await asyncio.sleep(0.05)
            await house.services.db.write(lambda tx: devices.answer(tx, asked["id"], 1, now, yes=True))
            return (await asyncio.wait_for(waiting, 60)).content

    assert b'"token":"glpat-' in house.run(both())


def test_strangers_cannot_fill_the_store(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "MOST", 3)
    for _ in range(3):
        start(house)
    refused = house.request("POST", f"{SERVICE}/StartLogin", None, json={})
    assert refused.status_code == 429
    with pytest.raises(Busy):
        house.write(lambda tx: devices.ask(tx, "x", "y", house.time[0]))
    house.time[0] += devices.LIFE_MS + 1
    start(house)
