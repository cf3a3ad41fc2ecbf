"""Pages of the Looker door: errors by explore with their place, the file at that place, credentials; closed
to those who may not look, escaped."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from runyard.http.auth import hash_token
from runyard.model.access import Role
from runyard.model.work import Token
from tests.services import join

from .conftest import House, bakery

COOKIES = {"root": "rys-root", "plain": "rys-plain"}
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def shop(house: House, bakery_file: Path) -> House:
    """A run of a project with a fault whose text is hostile, and two people signed in."""
    files = bakery()
    files["views/products.view.lkml"] = files["views/products.view.lkml"].replace(
        "${TABLE}.price", f'${{TABLE}}."{HOSTILE}"'
    )
    house.push(files)
    body = {"name": "bakery", "dialect_name": "duckdb", "database": str(bakery_file)}
    house.ok("POST", "/connections", json=body)
    for user, text in COOKIES.items():
        row = house.read(lambda tx, user=user: tx.user_by_name(user))
        assert row is not None
        token = Token(0, "session", hash_token(text), row.id, name="web")
        house.write(lambda tx, token=token: tx.add(token))
    return house


def open_page(house: House, path: str, user: str = "root", method: str = "GET") -> httpx.Response:
    headers = {"Cookie": f"runyard_session={COOKIES[user]}"} if user else {}

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=house.app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://ci.test") as client:
            return await client.request(method, f"http://ci.test{path}", headers=headers)

    return house.run(send())


def test_a_runs_page_groups_errors_by_explore_and_leads_to_the_line(shop: House) -> None:
    run = shop.ok("POST", "/projects/1/continuous_integration/runs", json={"suite_id": shop.suite()})
    page = f"/-/looker/runs/{run['id']}"
    assert run["run_url"] == f"http://ci.test{page}"
    waiting = open_page(shop, page)
    assert (waiting.status_code, "queued" in waiting.text) == (200, True)
    shop.work()
    shown = open_page(shop, page)
    assert shown.headers["content-security-policy"].startswith("default-src 'self'")
    assert HOSTILE not in shown.text
    assert "&lt;script&gt;" in shown.text
    assert "bakery/order_items" in shown.text
    assert "products.price" in shown.text
    assert "^ here" in shown.text
    link = f"/-/looker/projects/group%2Fbakery/files/views/products.view.lkml?commit={run['git_commit_ref']}&amp;line=14#L14"
    assert link in shown.text
    file = open_page(shop, link.replace("&amp;", "&").partition("#")[0])
    assert file.status_code == 200
    assert HOSTILE not in file.text
    assert 'class="l m-warning" id="L14"' in file.text


def test_pages_are_closed_to_those_who_may_not_look(shop: House) -> None:
    run = shop.ok("POST", "/projects/1/continuous_integration/runs", json={"suite_id": shop.suite()})
    page, file = f"/-/looker/runs/{run['id']}", "/-/looker/projects/1/files/views/products.view.lkml"
    for user in ("plain", ""):
        assert open_page(shop, page, user).status_code == 404
        assert open_page(shop, file, user).status_code == 404
    shop.write(lambda tx: join(tx, "plain", "group/bakery", Role.GUEST))
    assert open_page(shop, page, "plain").status_code == 200
    assert open_page(shop, file, "plain").status_code == 404  # guests see runs, reporters the repository too
    for wrong in (
        "/-/looker/runs/999",
        "/-/looker/runs/x",
        f"{file}x",
        f"{file}?commit=nope",
        "/-/looker/projects/9/files/a",
    ):
        assert open_page(shop, wrong).status_code == 404


def test_credentials_are_shown_once_and_open_the_door(shop: House) -> None:
    assert open_page(shop, "/-/looker/credentials", "").status_code == 401
    made = open_page(shop, "/-/looker/credentials", "plain", "POST").text
    pair = dict(
        line.split("=", 1)
        for line in made.replace("</pre>", "\n").split("\n")
        if line.startswith("LOOKERSDK_CLIENT")
    )
    body = {"client_id": pair["LOOKERSDK_CLIENT_ID"], "client_secret": pair["LOOKERSDK_CLIENT_SECRET"]}
    token = shop.ok("POST", "/login", json=body)["access_token"]
    me = shop.ok("GET", "/user", token=token)
    assert me["display_name"] == "Plain"
    again = open_page(shop, "/-/looker/credentials", "plain").text
    assert body["client_id"] in again
    assert body["client_secret"] not in again
    (one,) = shop.ok("GET", f"/users/{me['id']}/credentials_api3", token=token)
    assert (one["client_id"], "client_secret" in one) == (body["client_id"], False)
    assert shop.call("GET", "/users/1/credentials_api3", token=token).status_code == 403
    assert open_page(shop, f"/-/looker/credentials/{one['id']}/delete", "root", "POST").status_code == 404
    assert open_page(shop, f"/-/looker/credentials/{one['id']}/delete", "plain", "POST").status_code == 303
    assert shop.call("POST", "/login", json=body).status_code == 404
