"""A stock runner's conversation, word for word (transcribed from gitlab-runner 14.7 and 19.4,
contracts/gitlab.md §2.1 to §2.6), replayed."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from runyard.engine import upkeep
from runyard.engine.ports import Tx
from runyard.model.work import Attempt

HERE = Path(__file__).parent
SCRIPTS = ("stock_runner.json", "stock_runner_19.json")


def lose_the_log(house: Any, known: dict[str, str]) -> None:
    """What a server does that was restored from yesterday's backup."""

    def forget(tx: Tx) -> None:
        attempt = tx.get(Attempt, int(known["job"]))
        assert attempt is not None
        tx.drop_log(attempt.id)
        tx.save(replace(attempt, log_bytes=0))

    house.write(forget)


def let_the_lease_run_out(house: Any, known: dict[str, str]) -> None:
    house.time[0] += 61_000
    house.write(lambda tx: upkeep.sweep(tx, house.time[0], house.services.terms))


def cancel_the_job(house: Any, known: dict[str, str]) -> None:
    assert house.call("POST", f"/projects/1/jobs/{known['job']}/cancel", json={}).status_code == 201


DEEDS = {
    "lose the log": lose_the_log,
    "let the lease run out": let_the_lease_run_out,
    "cancel the job": cancel_the_job,
}


def reached(body: Any, path: str) -> str:
    for part in path.split("."):
        body = body[int(part)] if part.isdigit() else body[part]
    return str(body)


def filled(value: Any, known: dict[str, str]) -> Any:
    if isinstance(value, str):
        for name, text in known.items():
            value = value.replace("{" + name + "}", text)
        return value
    if isinstance(value, dict):
        return {key: filled(inner, known) for key, inner in value.items()}
    return value


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_conversation_goes_as_recorded(house: Any, script: str) -> None:
    house.pipeline(house.project())
    known = {"registration": "GRsecret"}
    for line in json.loads((HERE / script).read_text()):
        if "do" in line:
            DEEDS[line["do"]](house, known)
            continue
        more: dict[str, Any] = {"headers": filled(line.get("headers", {}), known)}
        if "json" in line:
            more["json"] = filled(line["json"], known)
        if "body" in line:
            more["content"] = line["body"].encode()
        if "file" in line:
            name, data, *times = line["file"]
            more["files"] = {"file": (name, base64.b64decode(data) * (times[0] if times else 1))}
        answer = house.call(line["method"], filled(line["path"], known), token=None, **more)
        assert answer.status_code == line["status"], (line["what"], answer.text)
        if "binary" in line:
            assert answer.content == base64.b64decode(line["binary"]), line["what"]
        elif answer.content:
            assert answer.headers["content-type"].startswith("application/json"), line["what"]
            assert set(line.get("has", [])) <= set(answer.json()), line["what"]
            assert not set(line.get("lacks", [])) & set(answer.json()), line["what"]
        for name, value in line.get("equals", {}).items():
            assert answer.headers[name] == value, line["what"]
        assert all(name in answer.headers for name in line.get("answers", [])), line["what"]
        known |= {name: reached(answer.json(), key) for name, key in line.get("keep", {}).items()}


def test_fifty_claims_for_one_job_give_it_once(house: Any) -> None:
    house.pipeline(house.project(config="a: {script: [x]}"))
    token = house.runner()

    async def all_at_once() -> list[int]:
        transport = httpx.ASGITransport(app=house.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://ci.test/api/v4") as client:
            asked = [client.post("/jobs/request", json={"token": token, "info": {}}) for _ in range(50)]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    statuses = house.run(all_at_once())
    assert sorted(statuses) == [201] + [204] * 49
