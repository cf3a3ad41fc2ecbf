"""DepotComputeService: who may look into a job, and what ends a visit. The real terminals are in
tests/runner/test_visits.py and tests/clients."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from protobuf import Oneof

from runyard.dialects.depot import DIALECT, compute, ids
from runyard.dialects.depot.access import _asker
from runyard.dialects.depot.compute import Compute
from runyard.dialects.depot.gen.depot.ci.v1 import api_pb as pb
from runyard.engine.ports import Wanted
from runyard.http.services import Principal
from runyard.model.access import Role
from runyard.model.plan import Assignment
from runyard.model.work import User
from tests.dialects.depot_routes.conftest import House
from tests.services import PLAIN, join


class Hall:
    """A visit is a pair of pipes; what is typed is shown."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, Wanted, str]] = []
        self.visits: list[Echo] = []

    def open(self, attempt_id: int, wanted: Wanted, by: str) -> Echo:
        self.asked.append((attempt_id, wanted, by))
        self.visits.append(Echo())
        return self.visits[-1]


class Echo:
    def __init__(self) -> None:
        self.stdout, self.stdin = os.pipe()
        os.set_blocking(self.stdout, False)
        os.write(self.stdin, b"hello\n")
        self.stderr: int | None = None
        self.size = (0, 0)
        self.closed = False

    def resize(self, rows: int, columns: int) -> None:
        self.size = (rows, columns)

    def shut_stdin(self) -> None:
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None  # type: ignore[assignment]

    def wait(self, timeout_s: float) -> int | None:
        return None if self.stdin is not None else 3

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.shut_stdin()
            os.close(self.stdout)


@pytest.fixture
def hall(house: House) -> Hall:
    made = Hall()
    house.services = replace(house.services, visits=made)  # type: ignore[arg-type]
    house.app = DIALECT.mount(house.services)
    return made


def sandbox(job: Assignment) -> str:
    return ids.say(ids.Kind.SANDBOX, job.attempt_id)


def running(house: House) -> Assignment:
    house.project()
    house.start()
    return house.claim()


def execute(house: House, token: str | None, **body: Any) -> tuple[list[Any], Any]:
    import json
    import struct

    data = json.dumps({"command": {"commandArray": ["true"]}, **body}).encode()
    headers = {"content-type": "application/connect+json"}
    answer = house.request(
        "POST", "/depot.ci.v1.DepotComputeService/RemoteExec", token, content=b"\0" + struct.pack(">I", len(data)) + data, headers=headers
    )  # fmt: skip
    messages, rest = [], answer.content
    while rest:
        flags, size = rest[0], struct.unpack(">I", rest[1:5])[0]
        frame = json.loads(rest[5 : 5 + size])
        if flags & 2:
            return messages, frame.get("error", {}).get("code")
        messages.append(frame)
        rest = rest[5 + size :]
    raise AssertionError("no end")


def test_only_who_may_run_may_look_into_a_job(house: House, hall: Hall) -> None:
    job = running(house)
    assert execute(house, PLAIN, sandboxId=sandbox(job))[1] == "not_found"
    house.write(lambda tx: join(tx, "plain", "group/demo", Role.REPORTER))
    assert execute(house, PLAIN, sandboxId=sandbox(job))[1] == "permission_denied"
    assert execute(house, job.token, sandboxId=sandbox(job))[1] == "permission_denied"
    assert execute(house, None, sandboxId=sandbox(job))[1] == "unauthenticated"
    assert hall.asked == []


def test_a_sandbox_is_a_running_attempt(house: House, hall: Hall) -> None:
    from tests.services import ROOT

    job = running(house)
    session = ids.say(ids.Kind.SESSION, job.attempt_id)
    assert execute(house, ROOT, sandboxId=ids.attempt(job.attempt_id))[1] == "not_found"
    assert execute(house, ROOT, sandboxId=sandbox(job), sessionId=sandbox(job))[1] == "not_found"
    assert execute(house, ROOT, sandboxId=sandbox(job), command={})[1] == "invalid_argument"
    house.app = DIALECT.mount(replace(house.services, visits=None))
    assert execute(house, ROOT, sandboxId=sandbox(job), sessionId=session)[1] == "unavailable"
    house.finish(job)
    assert execute(house, ROOT, sandboxId=sandbox(job))[1] == "failed_precondition"


def test_a_command_is_named_and_its_output_comes_as_text_and_bytes(
    house: House, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.services import ROOT

    monkeypatch.setattr(Echo, "wait", lambda self, timeout_s: 3)
    job = running(house)
    messages, error = execute(
        house, ROOT, sandboxId=sandbox(job), command={"commandArray": ["make", "x"], "timeoutMs": 1000}
    )
    assert error is None
    assert messages[0] == {"stdout": "hello\n", "stdoutRaw": base64.b64encode(b"hello\n").decode()}
    assert messages[-1] == {"exitCode": 124}
    (asked,) = hall.asked
    assert asked == (job.attempt_id, Wanted(("make", "x"), stdin=False), "root") and hall.visits[0].closed


async def talk(
    house: House, *messages: pb.OpenPtySessionRequest, silent: bool = False
) -> list[pb.OpenPtySessionResponse]:
    import asyncio

    async def said() -> AsyncIterator[pb.OpenPtySessionRequest]:
        for message in messages:
            yield message
        if silent:
            await asyncio.sleep(30)

    _asker.set(Principal(User(1, "root", is_admin=True)))
    return [answer async for answer in Compute(house.services).open_pty_session(said(), None)]  # type: ignore[arg-type]


def test_a_terminal_that_nobody_uses_is_closed(
    house: House, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute, "IDLE_S", 0.3)
    monkeypatch.setattr(compute, "LOOK_S", 0.1)
    job = running(house)
    init = pb.OpenPtySessionRequest(
        message=Oneof("init", pb.PtySession(sandbox_id=sandbox(job), rows=5, cols=6))
    )
    with pytest.raises(ConnectError) as closed:
        house.run(talk(house, init, silent=True))
    assert closed.value.code is Code.DEADLINE_EXCEEDED and hall.visits[0].closed
    assert hall.asked[0][1] == Wanted(rows=5, columns=6)


def test_what_is_no_word_of_a_terminal_ends_it(
    house: House, hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runyard.model.errors import Invalid

    monkeypatch.setattr(compute, "LOOK_S", 0.1)
    job = running(house)
    init = pb.OpenPtySessionRequest(message=Oneof("init", pb.PtySession(sandbox_id=sandbox(job))))
    window = pb.OpenPtySessionRequest(message=Oneof("window_resize", pb.WindowResize(rows=9, cols=8)))
    with pytest.raises(Invalid):
        house.run(talk(house, init, window, init))
    assert hall.visits[0].size == (9, 8) and hall.visits[0].closed
    with pytest.raises(Invalid):
        house.run(talk(house, window))
    with pytest.raises(Invalid):
        house.run(talk(house))
