"""An archive is leafed through on the pages; nothing in it becomes a page or a script, and nobody sees more
than before."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from runyard.model.work import Artifact, Attempt
from runyard.web.routes import site
from tests.web.conftest import TOKEN, World

FILES = {
    "out/report.html": b"<script>alert(1)</script>",
    "out/a b#?\u00fc.txt": b"umlaut",
    "out/logo.png": b"\x89PNG",
    "out/vector.svg": b"<svg onload=alert(1)>",
    "bin/tool": b"\x7fELF",
    "<b>bold</b>.json": b"{}",
}


@pytest.fixture
def person(world: World) -> Iterator[TestClient]:
    with TestClient(site(world.services, ["gitlab"]), base_url="http://runyard.test") as client:
        client.post("/sign-in", data={"token": TOKEN, "next": "/"})
        yield client


@pytest.fixture
def keep(world: World) -> Callable[..., str]:
    """Keeps bytes as an artifact of the first job; the address of it."""

    def kept(data: bytes, format: str = "zip") -> str:
        ref = world.services.blobs.put([data])

        def add(tx):  # type: ignore[no-untyped-def]
            at = tx.get(Attempt, world.attempts["compile"])
            facts = ("a", "archive", format, "out.zip", len(data), ref.sha256, ref.key)
            return tx.add(Artifact(0, at.id, at.run_id, at.project_id, *facts)).id

        return f"/team/app/-/artifacts/{world.write(add)}"

    return kept


def archive(*more: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as writing:
        for name, data in (*FILES.items(), *more):
            writing.writestr(name, data)
    return out.getvalue()


def test_every_file_is_listed_and_opens(person: TestClient, keep: Callable[..., str], world: World) -> None:
    here = keep(archive())
    job = person.get(f"/team/app/-/jobs/{world.attempts['compile']}").text
    assert f'href="{here}/files"' in job
    page = person.get(f"{here}/files").text
    assert "<b>bold</b>" not in page and "&lt;b&gt;bold&lt;/b&gt;.json" in page
    for name, data in FILES.items():
        link = f"{here}/files/{quote(name)}"
        assert f'href="{link}"' in page
        answer = person.get(link)
        assert answer.content == data
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("name", "kind", "placed"),
    [
        ("out/report.html", "text/plain; charset=utf-8", "inline"),
        ("out/vector.svg", "text/plain; charset=utf-8", "inline"),
        ("out/logo.png", "image/png", "inline"),
        ("bin/tool", "application/octet-stream", "attachment; filename=\"tool\"; filename*=UTF-8''tool"),
    ],
)
def test_nothing_is_served_as_what_a_browser_would_run(
    person: TestClient, keep: Callable[..., str], name: str, kind: str, placed: str
) -> None:
    answer = person.get(f"{keep(archive())}/files/{name}")
    assert answer.headers["content-type"] == kind
    assert answer.headers["content-disposition"] == placed


def test_links_and_names_that_lead_elsewhere_are_not_there(
    person: TestClient, keep: Callable[..., str]
) -> None:
    link = zipfile.ZipInfo("link.txt")
    link.external_attr = 0o120777 << 16
    here = keep(archive((link, b"/etc/passwd"), ("../up.txt", b"up"), ("folder/", b"")))
    page = person.get(f"{here}/files").text
    for name in ("link.txt", "../up.txt", "folder/", "nope.txt"):
        assert f">{name}<" not in page
        assert person.get(f"{here}/files/{name.replace('..', '%2E%2E')}").status_code == 404


def test_a_browser_that_shows_a_bare_file_finds_the_icon(person: TestClient) -> None:
    assert person.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


def test_what_is_no_archive_says_so(person: TestClient, keep: Callable[..., str]) -> None:
    assert person.get(keep(b"not a zip") + "/files").status_code == 400
    assert person.get(keep(archive(), "raw") + "/files").status_code == 404
    person.post("/sign-out")
    assert person.get(keep(archive()) + "/files").status_code == 404
