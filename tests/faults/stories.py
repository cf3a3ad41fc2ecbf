"""What the fault battery's projects do, and small verbs over the GitLab door. Every job prints numbered lines
and leaves a file whose digest it prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tests.faults.watch import MARK, Witness
from tests.live_server import LiveServer

LINES = 40


def job(witness: Witness | None, lines: int = LINES, pause_s: float = 0.01) -> str:
    """Script lines: say hello to the witness, print, leave an artifact."""
    hello = (
        [f"exec 9<>/dev/tcp/127.0.0.1/{witness.port}", 'echo "$CI_JOB_ID $CI_PIPELINE_ID $CI_JOB_NAME" >&9']
        if witness
        else []
    )
    work = [
        f'for i in $(seq 1 {lines}); do echo "line $i of $CI_JOB_ID"; sleep {pause_s}; done',
        "head -c 20000 /dev/urandom > left.bin",
        'echo "left $(sha256sum left.bin | cut -d" " -f1)"',
    ]
    return "\n".join(f"    - {line!r}" if ": " in line else f"    - {line}" for line in hello + work)


def fan(witness: Witness | None, mark: str, width: int = 6, lines: int = LINES) -> dict[str, str]:
    """build → `width` jobs → join; every job leaves an artifact, the join takes all."""
    script = job(witness, lines)
    common = f"  script:\n{script}\n  artifacts:\n    paths: [left.bin]\n"
    parts = [
        f"stages: [build, fan, join]\nvariables:\n  {MARK}: {mark}\n",
        f"root:\n  stage: build\n{common}",
    ]
    parts += [f"fan{i}:\n  stage: fan\n{common}" for i in range(width)]
    parts.append(f"join:\n  stage: join\n{common}")
    return {".gitlab-ci.yml": "\n".join(parts)}


def single(script: str, mark: str, more: str = "") -> dict[str, str]:
    """One job `work` of these script lines (YAML block text)."""
    body = "\n".join(f"      {line}" for line in script.strip().splitlines())
    return {".gitlab-ci.yml": f"variables:\n  {MARK}: {mark}\nwork:\n  script:\n    - |\n{body}\n{more}"}


def project(server: LiveServer, path: str) -> str:
    """The API path of a project."""
    return f"/api/v4/projects/{quote(path, safe='')}"


def trigger(server: LiveServer, path: str, variables: Mapping[str, str] | None = None) -> int:
    """Creates a pipeline; its id once it is acknowledged."""
    body: dict[str, Any] = {"ref": "main"}
    if variables:
        body["variables"] = [{"key": k, "value": v} for k, v in variables.items()]
    status, answer = server.call("POST", project(server, path) + "/pipeline", body)
    assert status == 201, (status, answer)
    return int(answer["id"])


def pipeline(server: LiveServer, path: str, number: int) -> dict[str, Any]:
    """The pipeline now."""
    status, answer = server.call("GET", f"{project(server, path)}/pipelines/{number}")
    assert status == 200, (status, answer)
    return dict(answer)


def jobs(server: LiveServer, path: str, number: int, retried: bool = True) -> list[dict[str, Any]]:
    """All attempts, or the latest ones."""
    query = f"/pipelines/{number}/jobs?per_page=100&include_retried={str(retried).lower()}"
    status, answer = server.call("GET", project(server, path) + query)
    assert status == 200, (status, answer)
    return list(answer)


def until_status(
    server: LiveServer, path: str, number: int, wanted: set[str], seconds: float = 60
) -> dict[str, Any]:
    """The pipeline once its status is one of these."""
    found = server.until(lambda: pipeline(server, path, number), lambda p: p["status"] in wanted, seconds)
    return dict(found)


def until_job(
    server: LiveServer, path: str, number: int, wanted: set[str], seconds: float = 60
) -> dict[str, Any]:
    """The first latest job of the pipeline once its status is one of these."""
    found = server.until(
        lambda: jobs(server, path, number, retried=False),
        lambda js: bool(js) and js[0]["status"] in wanted,
        seconds,
    )
    return dict(found[0])


def until_printed(server: LiveServer, path: str, attempt: int, text: str, seconds: float = 60) -> str:
    """The trace once it holds the text."""
    return str(server.until(lambda: trace(server, path, attempt), lambda t: text in t, seconds))


def trace(server: LiveServer, path: str, attempt: int) -> str:
    """The log of an attempt."""
    status, text = server.call("GET", f"{project(server, path)}/jobs/{attempt}/trace")
    assert status == 200, (status, text)
    return text if isinstance(text, str) else ("" if text is None else str(text))


ENDED = {"success", "failed", "canceled", "skipped"}
