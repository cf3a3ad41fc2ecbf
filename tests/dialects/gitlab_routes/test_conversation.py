"""A stock runner's conversation, word for word (transcribed from gitlab-runner 14.7's protocol, contracts/gitlab.md §2), replayed."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import httpx

SCRIPT = json.loads((Path(__file__).parent / "stock_runner.json").read_text())


def filled(value: Any, known: dict[str, str]) -> Any:
    if isinstance(value, str):
        for name, text in known.items():
            value = value.replace("{" + name + "}", text)
        return value
    if isinstance(value, dict):
        return {key: filled(inner, known) for key, inner in value.items()}
    return value


def test_the_conversation_goes_as_recorded(house: Any) -> None:
    house.pipeline(house.project())
    known = {"registration": "GRsecret"}
    for line in SCRIPT:
        more: dict[str, Any] = {"headers": filled(line.get("headers", {}), known)}
        if "json" in line:
            more["json"] = filled(line["json"], known)
        if "body" in line:
            more["content"] = line["body"].encode()
        if "file" in line:
            name, data = line["file"]
            more["files"] = {"file": (name, base64.b64decode(data))}
        answer = house.call(line["method"], filled(line["path"], known), token=None, **more)
        assert answer.status_code == line["status"], (line["what"], answer.text)
        if answer.content:
            assert answer.headers["content-type"].startswith("application/json"), line["what"]
            assert set(line.get("has", [])) <= set(answer.json()), line["what"]
        for name, value in line.get("equals", {}).items():
            assert answer.headers[name] == value, line["what"]
        assert all(name in answer.headers for name in line.get("answers", [])), line["what"]
        known |= {name: str(answer.json()[key]) for name, key in line.get("keep", {}).items()}


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
