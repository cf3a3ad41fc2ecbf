"""A whole GitLab door in memory: real store, blobs, git, compiler and engine; only the socket and the
built-in runner are missing."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from runyard.dialects.gitlab import DIALECT
from runyard.engine.ports import Tx
from runyard.http.services import Services
from runyard.model.access import Role
from tests.services import ROOT, join, services_of

T = TypeVar("T")

CONFIG = """
stages: [build, test, deploy]
build:
  stage: build
  script: [make]
  tags: [linux]
  artifacts: {paths: [out], expire_in: 1 week, reports: {junit: r.xml, dotenv: b.env}}
test:
  stage: test
  script: [make test]
  coverage: '/Total: (\\d+\\.\\d+)%/'
  allow_failure: true
deploy:
  stage: deploy
  script: [make deploy]
  when: manual
"""


@dataclass
class House:
    """Everything a test talks to."""

    services: Services
    app: Any
    folder: Path
    time: list[int] = field(default_factory=lambda: [1_800_000_000_000])
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def run(self, work: Awaitable[T]) -> T:
        async def all_of_it() -> T:
            return await work

        return self.loop.run_until_complete(all_of_it())

    def call(self, method: str, path: str, token: str | None = ROOT, **more: Any) -> httpx.Response:
        """One request; the path is sent as written."""
        headers = {**({"PRIVATE-TOKEN": token} if token else {}), **more.pop("headers", {})}

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://ci.test") as client:
                return await client.request(method, f"/api/v4{path}", headers=headers, **more)

        return self.run(send())

    def get(self, path: str, **more: Any) -> Any:
        answer = self.call("GET", path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def write(self, work: Callable[[Tx], T]) -> T:
        return self.services.db.submit_write(work).result()

    def project(self, path: str = "group/demo", config: str = CONFIG, **files: str) -> int:
        """A project whose repository has one commit with this configuration."""
        work = self.folder / "work" / path
        work.mkdir(parents=True)
        for name, text in {".gitlab-ci.yml": config, "README.md": "hello\n", **files}.items():
            (work / name).write_text(text)
        for argv in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "first"]):
            subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b", *argv], cwd=work, check=True)
        group, _, name = path.rpartition("/")
        body = {"name": name, "path": name, "namespace_path": group, "import_url": str(work)}
        answer = self.call("POST", "/projects", json=body)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["id"])

    def join(self, project: int, role: Role, username: str = "plain") -> None:
        """Makes someone a member."""
        path = self.get(f"/projects/{project}")["path_with_namespace"]
        self.write(lambda tx: join(tx, username, path, role))

    def made(self, path: str, **body: Any) -> dict[str, Any]:
        """What a POST that must succeed answers."""
        answer = self.call("POST", path, json=body)
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, Any] = answer.json()
        return found

    def pipeline(self, project: int, **body: Any) -> dict[str, Any]:
        answer = self.call("POST", f"/projects/{project}/pipeline", json={"ref": "main", **body})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def runner(self, **body: Any) -> str:
        """A registered stock runner's token."""
        answer = self.call(
            "POST", "/runners", token=None, json={"token": "GRsecret", "tag_list": "linux", **body}
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    def claim(self, token: str, **info: Any) -> httpx.Response:
        return self.call(
            "POST",
            "/jobs/request",
            token=None,
            json={"token": token, "info": {"name": "gitlab-runner", **info}},
        )


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    services, time = services_of(
        DIALECT, tmp_path, registration_token="GRsecret", artifact_limit_bytes=4 << 20
    )
    made = House(services, DIALECT.mount(services), tmp_path, time)
    yield made
    made.loop.run_until_complete(made.loop.shutdown_default_executor())
    made.loop.close()
    services.db.close()
