"""The runner protocol over HTTP: GitLab's runner API plus the payload key `runyard` (contracts/gitlab.md §2).
Made by `runyard runner`.

Every call is repeated on network trouble and 5xx with growing pauses; a call that may be repeated changes
nothing the second time.
"""

from __future__ import annotations

import http.client
import json
import platform
import secrets
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from runyard import __version__
from runyard.engine.dispatch import Finish, Verdict
from runyard.model.errors import Away, Conflict, Forbidden, Invalid, NotFound, TooLarge, Unavailable
from runyard.model.plan import Assignment, InputArtifact
from runyard.model.state import Outcome
from runyard.model.usage import Sample
from runyard.model.work import Step
from runyard.runner.calling import Porter, Said, Shown
from runyard.runner.link import PATIENCE_S, Door, Parcel, Sought, Taken
from runyard.runner.sandbox.git import fetch
from runyard.runner.visits import BoxVisits

FEATURES = (
    "variables", "image", "artifacts", "cache", "fallback_cache_keys", "shared", "upload_multiple_artifacts", "upload_raw_artifacts",
    "refspecs", "masking", "raw_variables", "artifacts_exclude", "multi_build_steps", "trace_checksum", "trace_size", "cancelable",
    "return_exit_code", "cancel_gracefully", "runyard",
)  # fmt: skip
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
FINAL_TRIES = 8
TIMEOUT_S = 90.0  # longer than the server holds a poll
WATCH_S = 2.0
POLL_PAUSE_S = 1.0
PIECE_BYTES = 1 << 20
STOPPING = frozenset({"canceling"})
ENDED = frozenset({"canceled", "failed", "success", "skipped"})


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read whole (or into a file)."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def verdict(self) -> Verdict:
        """What `Job-Status` and the code say together."""
        word = self.headers.get("job-status", "")
        if word in STOPPING:
            return Verdict.STOP
        return Verdict.ABORT if self.status in (403, 404) or word in ENDED else Verdict.GO


class Wire:
    """HTTP/1.1 over kept connections; any thread may call."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(f"{url!r} is not the address of a server")
        self._secure = parts.scheme == "https"
        self._place = (parts.hostname, parts.port or (443 if self._secure else 80))
        self.door = Door(*self._place, self._secure)
        self._root = parts.path.rstrip("/")
        self._base = self._root + "/api/v4"
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: set[http.client.HTTPConnection] = set()
        self._retired = False
        self.closing = threading.Event()

    def call(
        self, method: str, path: str, *, body: bytes | Path | None = None, headers: Mapping[str, str] | None = None,
        into: BinaryIO | None = None, patience_s: float = PATIENCE_S, wrap: tuple[bytes, bytes] = (b"", b""),
        base: bool = True,
    ) -> Answer:  # fmt: skip
        """The answer below 500; Away when none comes. A Path is streamed, between the two ends of
        `wrap`. `base` False: the path is the server's, not its API's."""
        pause, problem = FIRST_PAUSE_S, ""
        until = time.monotonic() + patience_s
        place = self._base if base else self._root
        while True:
            connection = self._take()
            kept = False
            try:
                answer = self._once(connection, method, place + path, body, headers or {}, into, wrap)
                kept = True
                if answer.status < 500 and answer.status not in (408, 429):
                    return answer
                problem = f"the server answered {answer.status}"
            except ssl.SSLCertVerificationError as error:
                problem = (
                    f"the certificate of {self._place[0]}:{self._place[1]} is not trusted here ({error.verify_message}); "
                    "put its authority into this machine's store, or its file's name into SSL_CERT_FILE"
                )
            except (OSError, http.client.HTTPException) as error:
                said = getattr(error, "strerror", None) or str(error) or type(error).__name__
                problem = f"{said} (at {self._place[0]}:{self._place[1]})"
            finally:
                self._give(connection if kept else None, connection)
            if time.monotonic() + pause > until or self.closing.wait(pause):
                break
            pause = min(pause * 2, LONGEST_PAUSE_S)
        raise Away(f"{method} {path.partition('?')[0]}: {problem}")

    def _once(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | Path | None, headers: Mapping[str, str], into: BinaryIO | None,
        wrap: tuple[bytes, bytes],
    ) -> Answer:  # fmt: skip
        sent: bytes | Iterable[bytes] | None
        given = {"User-Agent": f"runyard-runner/{__version__}", "Accept": "application/json", **headers}
        if isinstance(body, Path):
            given["Content-Length"] = str(len(wrap[0]) + body.stat().st_size + len(wrap[1]))
            sent = _pieces(body, wrap)
        else:
            sent = body
        connection.request(method, path, body=sent, headers=given)
        answer = connection.getresponse()
        found = {key.lower(): value for key, value in answer.getheaders()}
        if into is not None and answer.status == 200:
            into.seek(0)
            into.truncate()
            while piece := answer.read(PIECE_BYTES):
                into.write(piece)
            return Answer(answer.status, found, b"")
        return Answer(answer.status, found, answer.read())

    def _take(self) -> http.client.HTTPConnection:
        with self._lock:
            if self._idle:
                connection = self._idle.pop()
            else:
                kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
                connection = kind(*self._place, timeout=TIMEOUT_S)
            self._busy.add(connection)
            return connection

    def _give(self, kept: http.client.HTTPConnection | None, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._busy.discard(connection)
            if kept is not None and not self._retired:
                self._idle.append(kept)
                return
        connection.close()

    def retire(self) -> None:
        """Calls go on, but no connection is kept after them."""
        with self._lock:
            self._retired = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def hang_up(self) -> None:
        """Ends every call that is under way; no more are made."""
        self.closing.set()
        self.retire()
        with self._lock:
            busy = [connection.sock for connection in self._busy if connection.sock is not None]
        for sock in busy:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _pieces(file: Path, wrap: tuple[bytes, bytes]) -> Iterator[bytes]:
    yield wrap[0]
    with file.open("rb") as source:
        while piece := source.read(PIECE_BYTES):
            yield piece
    yield wrap[1]


class RemoteLink:
    """Keeps the promises of `link.Link`."""

    def __init__(self, url: str, token: str, spool: Path, visits: BoxVisits | None = None) -> None:
        self._wire = Wire(url)
        self._porter = Porter(visits or BoxVisits(), self._visitor_says, self._show_visitor)
        self._poll = Wire(url)  # of its own, so that a held poll can be ended while jobs go on talking
        self._token = token
        self._spool = spool
        self._system_id = f"r_{secrets.token_hex(6)}"
        self._turn = threading.Lock()
        self._last_update = ""
        self._logs: dict[int, ThreadPoolExecutor] = {}

    @property
    def _info(self) -> dict[str, Any]:
        return {
            "name": "runyard", "version": __version__, "revision": "", "platform": "linux", "architecture": platform.machine(),
            "executor": "runyard", "shell": "bash", "features": dict.fromkeys(FEATURES, True),
        }  # fmt: skip

    def verify(self, patience_s: float = PATIENCE_S) -> None:
        """Forbidden when the token is none; Unavailable when nobody answers for so long."""
        answer = self._json(
            "POST",
            "/runners/verify",
            {"token": self._token, "system_id": self._system_id, "info": self._info},
            patience_s=patience_s,
        )
        if answer.status in (401, 403):
            raise Forbidden("The server does not know this runner token.")
        if answer.status != 200:
            raise Unavailable(f"The server answered {answer.status} to /runners/verify.")

    def claim(self) -> Assignment | None:
        """Long poll: the server holds the request while the queue stands still."""
        with self._turn:
            while not self._poll.closing.is_set():
                asked = {
                    "token": self._token,
                    "system_id": self._system_id,
                    "last_update": self._last_update,
                    "info": self._info,
                }
                try:
                    answer = self._poll.call(
                        "POST",
                        "/jobs/request",
                        body=msgspec.json.encode(asked),
                        headers={"Content-Type": "application/json"},
                        patience_s=0,
                    )
                except Unavailable:
                    if self._poll.closing.is_set():
                        return None
                    raise
                if answer.status == 201:
                    payload = json.loads(answer.body)
                    if "runyard" not in payload:
                        raise Unavailable("The server sent a job that this runner cannot read.")
                    return msgspec.convert(payload["runyard"], Assignment, strict=False)
                if answer.status == 403:
                    raise Forbidden("The server does not know this runner token (any more).")
                update = answer.headers.get("x-gitlab-last-update", "")
                if answer.status != 204 or update == "":
                    self._poll.closing.wait(POLL_PAUSE_S)
                self._last_update = update
        return None

    def log(self, work: Assignment, offset: int, data: bytes) -> Future[Taken]:
        """One sender thread per attempt keeps the order."""
        pool = self._logs.get(work.attempt_id)
        if pool is None:
            pool = self._logs[work.attempt_id] = ThreadPoolExecutor(
                1, thread_name_prefix=f"log-{work.attempt_id}"
            )
        return pool.submit(self._append, work, offset, data)

    def _append(self, work: Assignment, offset: int, data: bytes) -> Taken:
        if not data:
            return Taken(Verdict.GO, True, offset)
        headers = {
            "JOB-TOKEN": work.token,
            "Content-Type": "text/plain",
            "Content-Range": f"{offset}-{offset + len(data) - 1}",
        }
        try:
            answer = self._wire.call("PATCH", f"/jobs/{work.attempt_id}/trace", body=data, headers=headers)
        except Unavailable:
            return Taken(Verdict.ABORT, False, -1)  # gone for longer than any lease
        size = int(answer.headers.get("range", "0-0").partition("-")[2] or 0)
        if answer.verdict is Verdict.ABORT:
            return Taken(Verdict.ABORT, False, -1)
        return Taken(answer.verdict, answer.status == 202, size)

    def step(self, work: Assignment, row: Step) -> None:
        """After the log bytes before it, by the same sender."""
        said = {
            key: value
            for key, value in msgspec.to_builtins(row).items()
            if key not in ("attempt_id", "position")
        }
        self._later(work, f"/jobs/{work.attempt_id}/steps/{row.position}", said)

    def usage(self, work: Assignment, samples: Sequence[Sample]) -> None:
        """By the same sender."""
        self._later(work, f"/jobs/{work.attempt_id}/usage", {"samples": samples})

    def _later(self, work: Assignment, path: str, said: Mapping[str, Any]) -> None:
        pool = self._logs.setdefault(
            work.attempt_id, ThreadPoolExecutor(1, thread_name_prefix=f"log-{work.attempt_id}")
        )
        pool.submit(self._quietly, "PUT", path, said, work.token)

    def _quietly(self, method: str, path: str, said: Mapping[str, Any], token: str) -> None:
        try:
            self._json(method, path, said, {"JOB-TOKEN": token})
        except Unavailable:
            return

    def watch(self, work: Assignment) -> Verdict:
        """A keep-alive every few seconds, as gitlab-runner sends."""
        time.sleep(WATCH_S)
        answer = self._json(
            "PUT", f"/jobs/{work.attempt_id}", {"token": work.token, "state": "running", "info": self._info}
        )
        if announced := answer.headers.get("x-runyard-visits"):
            self._porter.announce(work, announced.split(","))
        return answer.verdict

    def _visitor_says(self, work: Assignment, id: str) -> Said:
        """Held by the server until there is something."""
        answer = self._wire.call(
            "GET", f"/jobs/{work.attempt_id}/visits/{id}", headers={"JOB-TOKEN": work.token}, patience_s=0
        )
        if answer.status != 200:
            raise NotFound(_message(answer))
        return msgspec.json.decode(answer.body, type=Said)

    def _show_visitor(self, work: Assignment, id: str, shown: Shown) -> int:
        path, headers = f"/jobs/{work.attempt_id}/visits/{id}", {"JOB-TOKEN": work.token}
        answer = self._json("PUT", path, msgspec.to_builtins(shown), headers, patience_s=0)
        if answer.status != 200:
            raise NotFound(_message(answer))
        return int(json.loads(answer.body)["taken"])

    def upload(self, work: Assignment, parcel: Parcel, file: Path) -> int:
        """One multipart part, streamed."""
        query = {"artifact_format": parcel.format, "artifact_type": parcel.type, "artifact_name": parcel.name}
        if parcel.replace:
            query["replace"] = "true"
        if parcel.expires:
            query["expire_in"] = "never" if parcel.expire_in_s is None else f"{parcel.expire_in_s} seconds"
        edge = secrets.token_hex(16)
        name = parcel.filename.replace('"', "_").replace("\r", "_").replace("\n", "_")
        head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        answer = self._wire.call(
            "POST",
            f"/jobs/{work.attempt_id}/artifacts?{urlencode(query, quote_via=quote)}",
            body=file,
            headers={"JOB-TOKEN": work.token, "Content-Type": f"multipart/form-data; boundary={edge}"},
            wrap=(head.encode(), f"\r\n--{edge}--\r\n".encode()),
        )
        if answer.status == 413:
            raise TooLarge("the artifact is larger than the server takes")
        if answer.status not in (200, 201):
            raise Conflict(_message(answer))
        return int(json.loads(answer.body).get("id") or 0)

    def artifacts(self, work: Assignment) -> tuple[InputArtifact, ...]:
        """One look."""
        answer = self._wire.call(
            "GET", f"/jobs/{work.attempt_id}/run_artifacts", headers={"JOB-TOKEN": work.token}
        )
        if answer.status != 200:
            raise NotFound(_message(answer))
        return tuple(msgspec.convert(json.loads(answer.body), list[InputArtifact], strict=False))

    def action(self, work: Assignment, repository: str, ref: str) -> tuple[str, BinaryIO]:
        """The server fetches, so that a runner needs no way to the actions' host, and all runners have the
        same."""
        self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = tempfile.TemporaryFile(dir=self._spool)  # noqa: SIM115 - the caller closes it
        query = urlencode({"repository": repository, "ref": ref})
        answer = self._wire.call(
            "GET", f"/jobs/{work.attempt_id}/action?{query}", headers={"JOB-TOKEN": work.token}, into=file
        )
        if answer.status != 200:
            file.close()
            raise NotFound(_message(answer).removeprefix("404 "))
        file.seek(0)
        return answer.headers.get("x-runyard-commit", ""), file

    def cache_find(self, work: Assignment, sought: Sought) -> tuple[str, BinaryIO | None] | None:
        """By the server's service for actions, as actions ask it."""
        said = {"key": sought.key, "version": sought.version, "restore_keys": list(sought.restore_keys)}
        found = self._twirp(work, "GetCacheEntryDownloadURL", said)
        if not found.get("ok"):
            return None
        if sought.look_only:
            return str(found["matched_key"]), None
        self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = tempfile.TemporaryFile(dir=self._spool)  # noqa: SIM115 - the caller closes it
        answer = self._wire.call("GET", _path_of(str(found["signed_download_url"])), into=file, base=False)
        if answer.status != 200:
            file.close()
            return None
        file.seek(0)
        return str(found["matched_key"]), file

    def cache_keep(self, work: Assignment, key: str, version: str, file: Path) -> bool:
        """A place, the bytes, the last word."""
        made = self._twirp(work, "CreateCacheEntry", {"key": key, "version": version})
        if not made.get("ok"):
            return False
        answer = self._wire.call("PUT", _path_of(str(made["signed_upload_url"])), body=file, base=False)
        if answer.status != 201:
            raise Conflict(_message(answer))
        size = str(file.stat().st_size)
        done = self._twirp(
            work, "FinalizeCacheEntryUpload", {"key": key, "version": version, "size_bytes": size}
        )
        return bool(done.get("ok"))

    def _twirp(self, work: Assignment, method: str, said: Mapping[str, Any]) -> dict[str, Any]:
        path = f"/twirp/github.actions.results.api.v1.CacheService/{method}"
        headers = {"Authorization": f"Bearer {work.token}", "Content-Type": "application/json"}
        answer = self._wire.call("POST", path, body=msgspec.json.encode(said), headers=headers, base=False)
        if answer.status != 200:
            raise Conflict(_message(answer))
        found = json.loads(answer.body)
        return found if isinstance(found, dict) else {}

    def door(self) -> Door | None:
        """The address that this line was given."""
        return self._wire.door

    def open(self, work: Assignment, given: InputArtifact) -> BinaryIO:
        """Downloaded into a nameless file."""
        self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = tempfile.TemporaryFile(dir=self._spool)  # noqa: SIM115 - the caller closes it
        answer = self._wire.call(
            "GET",
            f"/jobs/{given.attempt_id}/artifacts?artifact_id={given.id}",
            headers={"JOB-TOKEN": work.token},
            into=file,
        )
        if answer.status != 200:
            file.close()
            raise NotFound(f"The artifact {given.name!r} of {given.job_name!r} is gone ({answer.status}).")
        file.seek(0)
        return file

    def checkout(self, work: Assignment, sha: str, ref: str, depth: int, into: Path) -> str:
        """By git over HTTP with the job's token; the run's own commit by its kept ref, which a force-push
        cannot take away."""
        if not work.repo_url:
            raise Forbidden("another project's commit can only be laid out by the server's own runner")
        heads = f"refs/tags/{work.ref}" if work.tag else f"refs/heads/{work.ref}"
        wanted = (f"refs/pipelines/{work.run_id}", heads) if sha == work.sha else ()
        return fetch(work.repo_url, work.token, sha, ref, wanted, depth, into)

    def finish_if_whole(self, work: Assignment, end: Finish) -> bool:
        """Never: the sender may still be at work, and what it was refused must be sent again first."""
        return False

    def finish(self, work: Assignment, end: Finish) -> None:
        """State and checksum as GitLab wants them, all the rest under `runyard`."""
        pool = self._logs.pop(work.attempt_id, None)
        if pool is not None:
            pool.shutdown(wait=True)
        said: dict[str, Any] = {
            "token": work.token,
            "state": "success" if end.outcome is Outcome.PASSED else "failed",
            "info": self._info,
            "output": {"checksum": f"crc32:{end.log_crc or 0:08x}", "bytesize": end.log_bytes or 0},
            "runyard": {
                "outcome": end.outcome.value, "reason": end.reason.value, "message": end.message, "outputs": dict(end.outputs),
                "coverage": end.coverage,
            },
        }  # fmt: skip
        if end.exit_code is not None and end.outcome is not Outcome.PASSED:
            said["exit_code"] = end.exit_code
        for _ in range(FINAL_TRIES):
            answer = self._json("PUT", f"/jobs/{work.attempt_id}", said)
            if answer.status != 202:
                break
            time.sleep(1.0)

    def give_back(self, work: Assignment) -> None:
        """GitLab's protocol has no word for it, so ours rides in `runyard`; when it does not arrive, the
        lease ends by itself."""
        pool = self._logs.pop(work.attempt_id, None)
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        said = {"token": work.token, "state": "failed", "runyard": {"given_back": True}}
        with suppress(Unavailable):
            self._json("PUT", f"/jobs/{work.attempt_id}", said, patience_s=5.0)

    def close(self) -> None:
        """Ends the held poll."""
        self._poll.hang_up()
        self._wire.retire()

    def _json(
        self,
        method: str,
        path: str,
        said: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> Answer:
        body = msgspec.json.encode(said)
        return self._wire.call(
            method,
            path,
            body=body,
            headers={"Content-Type": "application/json", **(headers or {})},
            patience_s=patience_s,
        )


def _path_of(url: str) -> str:
    """Path and query: the bytes are asked of the server that this line knows, whatever it calls itself."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def _message(answer: Answer) -> str:
    try:
        found = json.loads(answer.body)
        return str(found.get("message") or found.get("error") or found.get("msg") or answer.status)
    except (ValueError, AttributeError):
        return f"the server answered {answer.status}"
