"""Every door of a live server, asked the wrong way: a 4xx in that vendor's shape within a second, never a
5xx, and the server goes on."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import time
from typing import Any

import pytest

from tests.live_server import TOKEN, LiveServer

GITLAB, DEPOT, LOOKER, DATAFOLD = "gitlab", "depot", "looker", "datafold"
PLACES: dict[str, list[tuple[str, str]]] = {
    GITLAB: [
        ("GET", "/api/v4/user"),
        ("GET", "/api/v4/projects"),
        ("POST", "/api/v4/projects"),
        ("GET", "/api/v4/projects/hostile%2Fone/jobs"),
        ("POST", "/api/v4/projects/hostile%2Fone/pipeline"),
        ("POST", "/api/v4/jobs/request"),
    ],
    DEPOT: [
        ("POST", "/depot.ci.v1.CIService/Run"),
        ("POST", "/depot.ci.v1.CIService/GetRun"),
        ("POST", "/depot.ci.v1.CIService/ListRuns"),
        ("POST", "/depot.ci.v1.CIService/GetRunStatus"),
    ],
    LOOKER: [
        ("GET", "/api/4.0/user"),
        ("GET", "/api/4.0/connections"),
        ("POST", "/api/4.0/connections"),
        ("POST", "/api/4.0/projects/hostile%2Fone/ci/run"),
        ("GET", "/api/4.0/projects/hostile%2Fone/ci/runs/1"),
        ("POST", "/api/4.0/projects/hostile%2Fone/continuous_integration/runs"),
    ],
    DATAFOLD: [
        ("GET", "/api/v1/data_sources"),
        ("POST", "/api/v1/data_sources"),
        ("POST", "/api/v1/ci/1/trigger"),
        ("GET", "/api/v1/ci/1/runs"),
        ("POST", "/api/v1/datadiffs"),
        ("GET", "/api/v1/datadiffs/1"),
    ],
}
EVERY = [(vendor, method, path) for vendor, places in PLACES.items() for method, path in places]
POSTS = [
    (vendor, method, path)
    for vendor, method, path in EVERY
    if method == "POST" and "jobs/request" not in path
]


def credentials(vendor: str, token: str) -> dict[str, str]:
    match vendor:
        case "gitlab":
            return {"PRIVATE-TOKEN": token}
        case "datafold":
            return {"Authorization": f"Key {token}"}
        case _:
            return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="session")
def looker_token(server: LiveServer) -> str:
    status, body = ask(
        server,
        "POST",
        "/api/4.0/login",
        f"client_id=root&client_secret={TOKEN}".encode(),
        {"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert status == 200, body
    return str(json.loads(body)["access_token"])


def ask(
    server: LiveServer,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
    start = time.monotonic()
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status >= 400:
            said = answer.getheader("content-type", "")
            assert "json" in said, (method, path, answer.status, said, data[:200])
        return answer.status, data
    finally:
        connection.close()
        assert time.monotonic() - start < 5, "a refusal took too long"


def shape(vendor: str, status: int, data: bytes) -> None:
    """The body is what that vendor's clients can read."""
    said: Any = json.loads(data)
    match vendor:
        case "gitlab":
            assert isinstance(said.get("message", said.get("error")), str | dict | list)
        case "depot":
            assert isinstance(said["code"], str)
            assert isinstance(said.get("message", ""), str)
        case "looker":
            assert isinstance(said["message"], str)
            assert isinstance(said["documentation_url"], str)
            assert None not in said.values()
        case "datafold":
            assert (
                isinstance(said["detail"], list)
                if status == 422
                else {"type", "status", "instance"} <= set(said)
            )
    for secret in (b"Traceback", b"sqlite", b"sqlalchemy", b"/work/", b".py"):
        assert secret not in data


@pytest.mark.parametrize(("vendor", "method", "path"), EVERY)
@pytest.mark.parametrize(
    "token", ["", "glpat-wrong", "x" * 5000, "glcbt-1-abc", "glcbt-99999999999999999999-x", "\u00e9"]
)
def test_without_a_valid_token_nothing_is_told(
    server: LiveServer, vendor: str, method: str, path: str, token: str
) -> None:
    headers = (
        {k: v.encode().decode("latin-1") for k, v in credentials(vendor, token).items()} if token else {}
    )
    status, data = ask(
        server,
        method,
        path,
        b"{}" if method == "POST" else None,
        {**headers, "Content-Type": "application/json"},
    )
    assert status in (401, 403, 404), (status, data[:200])
    shape(vendor, status, data)


@pytest.mark.parametrize(("vendor", "method", "path"), POSTS)
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"\xff\xfe",
        b'{"id": NaN}',
        b"[]",
        b"null",
        b'"text"',
        b'{"suite_id": {"a": []}, "ref": [], "repo": 1, "name": {}, "pr_number": "x", "data_source1_id": []}',
        b"9" * 100_000,
    ],
    ids=[
        "cut",
        "deep list",
        "deep object",
        "no utf-8",
        "NaN",
        "list",
        "null",
        "text",
        "wrong types",
        "digits",
    ],
)
def test_malformed_bodies_are_refused(
    server: LiveServer, looker_token: str, vendor: str, method: str, path: str, body: bytes
) -> None:
    token = looker_token if vendor == LOOKER else TOKEN
    status, data = ask(
        server, method, path, body, {**credentials(vendor, token), "Content-Type": "application/json"}
    )
    assert 400 <= status < 500 or (status == 200 and vendor == DEPOT and path.endswith("ListRuns")), (
        status,
        data[:300],
    )
    if status >= 400:
        shape(vendor, status, data)


@pytest.mark.parametrize(("vendor", "method", "path"), POSTS)
def test_oversized_bodies_are_refused(
    server: LiveServer, looker_token: str, vendor: str, method: str, path: str
) -> None:
    token = looker_token if vendor == LOOKER else TOKEN
    headers = {**credentials(vendor, token), "Content-Type": "application/json"}
    try:
        status, data = ask(server, method, path, b'{"a": "' + b"x" * (12 << 20) + b'"}', headers)
    except (BrokenPipeError, ConnectionResetError):
        return  # refused while we were still talking
    assert status in (400, 404, 413, 429), (status, data[:200])


@pytest.mark.parametrize("path", [p for _, p in PLACES[DEPOT]])
def test_malformed_protobuf_is_refused(server: LiveServer, path: str) -> None:
    headers = {**credentials(DEPOT, TOKEN), "Content-Type": "application/proto"}
    for body in (b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 10_000):
        status, data = ask(server, "POST", path, body, headers)
        assert 400 <= status < 500, (status, data[:200])
        shape(DEPOT, status, data)


def test_a_compressed_bomb_is_refused(server: LiveServer) -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    headers = {**credentials(DEPOT, TOKEN), "Content-Type": "application/json", "Content-Encoding": "gzip"}
    status, data = ask(server, "POST", "/depot.ci.v1.CIService/ListRuns", bomb, headers)
    assert 400 <= status < 500, (status, data[:200])


@pytest.mark.parametrize(
    ("vendor", "path"),
    [
        (GITLAB, "/api/v4/projects/999999"),
        (GITLAB, "/api/v4/projects/no%2Fsuch/jobs/1"),
        (GITLAB, "/api/v4/projects/99999999999999999999999"),
        (GITLAB, "/api/v4/projects/..%2F..%2Fetc/jobs"),
        (GITLAB, "/api/v4/nothing"),
        (LOOKER, "/api/4.0/projects/no%2Fsuch/ci/runs/1"),
        (LOOKER, "/api/4.0/connections/none"),
        (LOOKER, "/api/4.0/nothing"),
        (DATAFOLD, "/api/v1/data_sources/999999"),
        (DATAFOLD, "/api/v1/datadiffs/999999"),
        (DATAFOLD, "/api/v1/ci/999999/runs"),
        (DATAFOLD, "/api/v1/nothing"),
    ],
)
def test_unknown_things_are_not_found(server: LiveServer, looker_token: str, vendor: str, path: str) -> None:
    token = looker_token if vendor == LOOKER else TOKEN
    status, data = ask(server, "GET", path, None, credentials(vendor, token))
    assert status in (404, 422), (status, data[:200])
    shape(vendor, status, data)


@pytest.mark.parametrize(
    "path",
    [
        "/?page=%C2%B2",
        "/?page=" + "9" * 5000,
        "/hostile/one/-/jobs/" + "9" * 5000,
        "/hostile/one/-/jobs/99999999999999999999",
        "/hostile/one/-/pipelines/" + "9" * 5000,
        "/-/events/run/" + "9" * 5000,
        "/-/events/run/99999999999999999999",
        "/hostile/one/-/jobs/1/log-events?from=%C2%B2&lines=" + "9" * 5000,
        "/%00",
        "/a%00b/-/jobs/1",
        "/%ff%fe",
        "/static/..%2f..%2fsession.py",
        "/static/%2e%2e/session.py",
        "/hostile/one.git/config",
        "/hostile/one.git/HEAD",
    ],
)
def test_odd_addresses_of_pages_are_refused_as_pages(server: LiveServer, path: str) -> None:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    assert answer.status < 500 and b"Traceback" not in data, (path, answer.status, data[:200])
    assert answer.getheader("x-content-type-options") == "nosniff"


HOSTILE_FILES = {
    "deep": "[" * 100_000,
    "laughs": "a: &a [x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(24)),
    "tabs": "job:\n\tscript: x\n",
    "unknown key": "job: {script: a, scritp: b}\n",
    "cycle": "a: {script: x, needs: [b]}\nb: {script: x, needs: [a]}\n",
    "missing include": "include: nowhere.yml\na: {script: x}\n",
}


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_a_pushed_bad_file_says_where_and_makes_no_job(server: LiveServer, name: str) -> None:
    path = f"hostile/{name.replace(' ', '-')}"
    server.push(path, {".gitlab-ci.yml": HOSTILE_FILES[name]})
    project = path.replace("/", "%2F")
    status, body = server.call("POST", f"/api/v4/projects/{project}/pipeline", {"ref": "main"})
    assert status == 400, body
    assert "base" in body["message"]
    assert server.call("GET", f"/api/v4/projects/{project}/jobs") == (200, [])


@pytest.mark.parametrize(
    "ref", ["nowhere", "--upload-pack=touch", "-x", "a..b", "refs/heads/", "x" * 3000, "\x00", "deadbeef" * 5]
)
def test_unknown_and_hostile_refs_are_refused(server: LiveServer, ref: str) -> None:
    server.push("hostile/refs", {".gitlab-ci.yml": "a: {script: x}\n"}, message="[skip ci]")
    status, body = server.call("POST", "/api/v4/projects/hostile%2Frefs/pipeline", {"ref": ref})
    assert status == 400, body
    status, body = server.call("GET", "/api/v4/projects/hostile%2Frefs/pipelines")
    assert status == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"NONSENSE\r\n\r\n",
    ],
    ids=["two lengths", "negative length", "long header", "nonsense"],
)
def test_broken_http_is_refused(server: LiveServer, raw: bytes) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 5) as plug:
        plug.settimeout(5)
        try:
            plug.sendall(raw)
            answer = plug.recv(4096)
        except (ConnectionResetError, BrokenPipeError):
            return
    assert not answer or answer.split()[1][:1] == b"4", answer[:200]


def test_the_server_lived_through_all_of_it(server: LiveServer) -> None:
    assert server.process.poll() is None
    assert server.call("GET", "/api/v4/user")[1]["username"] == "root"
    assert '"request failed"' not in server.log.read_text(), server.log.read_text()[-3000:]
