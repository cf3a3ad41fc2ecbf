"""A copy made while the server serves, as docs/operate.md says, is a server: all that had ended is there,
what ran begins again, secrets can be opened."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.faults.stories import project, single, trace, trigger, until_job, until_printed, until_status
from tests.live_server import LiveServer

PATH = "team/kept"
SCRIPT = """
head -c 700000 /dev/zero | tr '\\\\0' x | fold -w 100
echo "secret of ${#SECRET} letters"
test -n "$SLOW" && sleep 600
echo "work has ended"
"""


def backup(data: Path, copy: Path) -> None:
    """The steps of docs/operate.md, in their order."""
    copy.mkdir()
    with closing(sqlite3.connect(data / "runyard.db")) as connection:
        connection.execute("VACUUM INTO ?", (str(copy / "runyard.db"),))
    for name in (
        "runyard.db-logs",
        "secret-key",
        "root-token",
        "registration-token",
        "repositories",
        "blobs",
    ):
        if (data / name).is_dir():
            shutil.copytree(data / name, copy / name, symlinks=True)
        elif (data / name).exists():
            shutil.copy2(data / name, copy / name)


def test_a_copy_of_a_serving_server_serves(serve: Callable[..., LiveServer], mark: str) -> None:
    settings = {"RUNYARD_LEASE_S": "2", "RUNYARD_LOG_LIMIT_BYTES": str(8 << 20)}
    server = serve("first", **settings)
    server.push(PATH, single(SCRIPT, mark, "  artifacts: {paths: [.gitlab-ci.yml]}\n"), "start [skip ci]")
    place = project(server, PATH)
    given = {"key": "SECRET", "value": "a-secret-of-25-characters"}
    assert server.call("POST", f"{place}/variables", given)[0] == 201
    ended = trigger(server, PATH)
    until_status(server, PATH, ended, {"success"}, 60)
    job = until_job(server, PATH, ended, {"success"})["id"]
    whole = trace(server, PATH, job)
    running = trigger(server, PATH, {"SLOW": "yes"})
    slow = until_job(server, PATH, running, {"running"})["id"]
    begun = until_printed(server, PATH, slow, "secret of")

    (server.folder.parent / "second").mkdir()
    backup(server.folder / "data", server.folder.parent / "second" / "data")
    server.kill()
    copied = LiveServer(server.folder.parent / "second", **{"RUNYARD_NETWORK": "host", **settings})
    try:
        assert trace(copied, PATH, job) == whole and "secret of 25 letters" in whole
        assert copied.call("GET", f"{place}/jobs/{job}/artifacts")[0] == 200
        assert trace(copied, PATH, slow).startswith(begun)
        until_job(copied, PATH, running, {"running", "pending"}, 60)
        assert copied.call("POST", f"{place}/pipelines/{running}/cancel")[0] in (200, 201)
        until_status(copied, PATH, running, {"canceled"}, 60)
        again = trigger(copied, PATH)
        until_status(copied, PATH, again, {"success"}, 60)
        fresh = until_job(copied, PATH, again, {"success"})["id"]
        assert "secret of 25 letters" in trace(copied, PATH, fresh)
    finally:
        copied.kill()
