"""A runner of the Gitea/Forgejo protocol, as far as the wire goes: binary Connect over HTTP/1.1, the two
headers, row numbers, repeated outputs. It follows contracts/depot.md §8 and knows nothing of the server's
code but its generated messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from protobuf.wkt import Timestamp

from runyard.dialects.depot.gen.ping.v1 import messages_pb as ping
from runyard.dialects.depot.gen.runner.v1 import messages_pb as pb

M = TypeVar("M")
Post = Callable[[str, dict[str, str], bytes], tuple[int, bytes]]  # path, headers, body → status, body


class Refused(Exception):
    """A Connect error: status and body."""


class FleetClient:
    """`post` is the way to the server."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self.headers: dict[str, str] = {}
        self.version = 0
        self.rows = 0

    def ask(self, service: str, method: str, message: Any, answer: type[M]) -> M:
        headers = {"content-type": "application/proto", "connect-protocol-version": "1", **self.headers}
        status, body = self._post(f"/api/actions/{service}/{method}", headers, message.to_binary())
        if status != 200:
            raise Refused(status, body)
        return answer.from_binary(body)  # type: ignore[attr-defined, no-any-return]

    def ping(self, data: str) -> str:
        return self.ask("ping.v1.PingService", "Ping", ping.PingRequest(data=data), ping.PingResponse).data

    def register(self, token: str, labels: Sequence[str], *, ephemeral: bool = False) -> pb.Runner:
        message = pb.RegisterRequest(
            name="runner-1", token=token, version="v0.2.13", labels=list(labels), ephemeral=ephemeral
        )
        found = self.ask("runner.v1.RunnerService", "Register", message, pb.RegisterResponse).runner
        assert found is not None
        self.headers = {"x-runner-uuid": found.uuid, "x-runner-token": found.token}
        return found

    def declare(self, labels: Sequence[str]) -> pb.Runner:
        message = pb.DeclareRequest(version="v0.2.14", labels=list(labels), capabilities=["cancelling"])
        found = self.ask("runner.v1.RunnerService", "Declare", message, pb.DeclareResponse).runner
        assert found is not None
        return found

    def fetch(self) -> pb.Task | None:
        answer = self.ask(
            "runner.v1.RunnerService",
            "FetchTask",
            pb.FetchTaskRequest(tasks_version=self.version),
            pb.FetchTaskResponse,
        )
        self.version = 0 if answer.task is not None else answer.tasks_version
        self.rows = 0
        return answer.task

    def log(
        self, task: int, *lines: str, index: int | None = None, no_more: bool = False, at: float | None = None
    ) -> int:
        rows = [pb.LogRow(time=stamp(at), content=line) for line in lines]
        message = pb.UpdateLogRequest(
            task_id=task, index=self.rows if index is None else index, rows=rows, no_more=no_more
        )
        self.rows = self.ask("runner.v1.RunnerService", "UpdateLog", message, pb.UpdateLogResponse).ack_index
        return self.rows

    def state(
        self,
        task: int,
        result: pb.Result = pb.Result.UNSPECIFIED,
        steps: Sequence[pb.StepState] = (),
        outputs: Mapping[str, str] | None = None,
    ) -> pb.UpdateTaskResponse:
        state = pb.TaskState(id=task, result=result, steps=list(steps), started_at=stamp())
        message = pb.UpdateTaskRequest(state=state, outputs=dict(outputs or {}))
        return self.ask("runner.v1.RunnerService", "UpdateTask", message, pb.UpdateTaskResponse)


def stamp(at: float | None = None) -> Timestamp:
    return Timestamp.from_seconds(time.time() if at is None else at)


def step(id: int, result: pb.Result, first: int, count: int) -> pb.StepState:
    done = result is not pb.Result.UNSPECIFIED
    return pb.StepState(
        id=id, result=result, started_at=stamp(), stopped_at=stamp() if done else None, log_index=first, log_length=count
    )  # fmt: skip
