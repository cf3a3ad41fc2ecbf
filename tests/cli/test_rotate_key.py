"""`runyard rotate-key`: secrets outlive the key that sealed them, and the key opens nothing any more."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from runyard.model.errors import Unavailable
from runyard.store.vault import AesVault
from tests.live_server import LiveServer


def rotate(data: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("RUNYARD_")} | settings
    command = [sys.executable, "-m", "runyard", "rotate-key", "--data", str(data)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of a server that has ended, with an instance variable in it."""
    live = LiveServer(tmp_path)
    try:
        status, _ = live.call(
            "POST", "/api/v4/admin/ci/variables", {"key": "HUSH", "value": "quite a secret"}
        )
        assert status == 201
        busy = rotate(tmp_path / "data")
        assert (busy.returncode, "Stop it first" in busy.stderr) == (2, True)
    finally:
        live.stop()
    return tmp_path / "data"


def variable(data: Path) -> str:
    with closing(sqlite3.connect(data / "runyard.db")) as db:
        ((value,),) = db.execute("SELECT value FROM secret_variables")
    return str(value)


def test_the_variable_is_read_with_the_new_key_only(data: Path, tmp_path: Path) -> None:
    key = data / "secret-key"
    old = key.read_text().strip()
    done = rotate(data)
    assert (done.returncode, done.stderr) == (0, "")
    new = key.read_text().strip()
    assert new != old and key.stat().st_mode & 0o777 == 0o600 and not (data / "secret-key.new").exists()
    assert AesVault(new).open(variable(data)) == "quite a secret"
    with pytest.raises(Unavailable):
        AesVault(old).open(variable(data))
    live = LiveServer(tmp_path)
    try:
        assert live.call("GET", "/api/v4/admin/ci/variables/HUSH")[1]["value"] == "quite a secret"
    finally:
        live.stop()


def test_a_rotation_that_ended_before_the_file_was_renamed_is_finished_by_the_next(data: Path) -> None:
    key = data / "secret-key"
    old = key.read_text()
    assert rotate(data).returncode == 0
    key.rename(data / "secret-key.new")  # as a kill just after the commit leaves it
    key.write_text(old)
    done = rotate(data)
    assert (done.returncode, done.stdout.startswith("0 secrets")) == (0, True)
    assert AesVault(key.read_text().strip()).open(variable(data)) == "quite a secret"


def test_a_key_from_the_environment_is_the_operators_to_change(data: Path) -> None:
    old = (data / "secret-key").read_text().strip()
    done = rotate(data, RUNYARD_SECRET_KEY=old)
    assert (done.returncode, "RUNYARD_SECRET_KEY still has the old key" in done.stdout) == (0, True)
    new = (data / "secret-key.new").read_text().strip()
    assert AesVault(new).open(variable(data)) == "quite a secret"
    again = rotate(data, RUNYARD_SECRET_KEY=new)  # with the file still there: a third key, not the same again
    assert again.returncode == 0
    assert (data / "secret-key.new").read_text().strip() not in (old, new)


def test_a_wrong_key_changes_nothing(data: Path) -> None:
    before = variable(data)
    done = rotate(data, RUNYARD_SECRET_KEY="another")
    assert (done.returncode, "another secret key" in done.stderr) == (2, True)
    assert variable(data) == before
