"""`runyard token`: a token or a pair for Looker's clients, made in the data folder; printed once, and it
opens the door."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

from tests.live_server import LiveServer


def runyard(data: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("RUNYARD_")}
    command = [sys.executable, "-m", "runyard", "token", *argv, "--data", str(data)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def test_a_pair_for_lookers_clients_opens_the_door(tmp_path: Path) -> None:
    live = LiveServer(tmp_path)
    data = Path(live.data) if hasattr(live, "data") else tmp_path / "data"
    busy = runyard(data, "root", "--api3")
    assert (busy.returncode, "Stop it first" in busy.stderr) == (2, True)
    live.stop()
    made = runyard(data, "root", "--api3")
    assert made.returncode == 0, made.stderr
    pair = dict(line.split("=", 1) for line in made.stdout.splitlines())
    assert set(pair) == {"LOOKERSDK_CLIENT_ID", "LOOKERSDK_CLIENT_SECRET"}
    live.start()
    try:
        form = {"client_id": pair["LOOKERSDK_CLIENT_ID"], "client_secret": pair["LOOKERSDK_CLIENT_SECRET"]}
        with urllib.request.urlopen(
            f"{live.url}/api/4.0/login", urllib.parse.urlencode(form).encode()
        ) as answer:
            token = json.load(answer)
        assert token["token_type"] == "Bearer"
        request = urllib.request.Request(f"{live.url}/api/4.0/user")
        request.add_header("Authorization", f"Bearer {token['access_token']}")
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["display_name"].lower().startswith(("root", "admin"))
    finally:
        live.stop()
