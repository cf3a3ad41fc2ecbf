"""Runs in `.clients/looker/warehouses`, with the vendors' own drivers: a LookML project bound, queried and
tested there. Prints JSON.

`snowflake FOLDER`: fakesnow behind snowflake-connector-python. `redshift FOLDER HOST PORT DATABASE USER`:
redshift_connector against PostgreSQL, whose start-up packet a proxy of ours strips of what only Redshift
knows. FOLDER holds a project whose model's connection is `c`.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

from runyard.tasks.lookml.connections import Connection, connection  # noqa: E402
from runyard.tasks.lookml.databases import open_database  # noqa: E402
from runyard.tasks.lookml.language.model import models  # noqa: E402
from runyard.tasks.lookml.sql.compiler import context_of  # noqa: E402
from runyard.tasks.lookml.sql.query import build  # noqa: E402
from runyard.tasks.lookml.validation import Request, Validation  # noqa: E402

VERSION = re.compile(rb"(server_version\0)([^\0]+)\0")
"""What PostgreSQL calls itself, in a form that Amazon's driver cannot read; the length stays."""


def asked(folder: Path, wanted: Connection, spec: dict[str, Any]) -> dict[str, Any]:
    """The reports of the SQL and assert validators, and each query's rows (measures over repeated rows among
    them)."""
    validation = Validation(
        Request(project=folder, measures=spec["measures"], concurrency=2), lambda: {"c": wanted}
    )
    found: dict[str, Any] = {v: validation.report(v) for v in ("sql", "assert")}
    (model,) = models(validation.project)
    explore = model.explore("orders")
    assert explore is not None
    database = open_database(wanted, 30)
    for name, fields in spec["queries"].items():
        chosen = [(f.partition(".")[0], explore.find(f)) for f in fields]
        sql = build(context_of(explore, wanted.dialect), [(a, f) for a, f in chosen if f]).sql
        answer = database.run(sql, 1000)
        found[name] = [[str(v) for v in row] for row in getattr(answer, "rows", [])] or str(answer)
    database.close()
    return found


@contextmanager
def postgres_for_redshift(host: str, port: int) -> Iterator[int]:
    """A port that speaks to PostgreSQL, without the start-up parameters that it would refuse."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                sink.sendall(VERSION.sub(lambda m: m[1] + b"8.0.2".ljust(len(m[2])) + b"\0", data))
        except OSError:
            pass
        sink.close()

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection((host, port))
            (size,) = struct.unpack("!i", client.recv(4, socket.MSG_WAITALL))
            packet = client.recv(size - 4, socket.MSG_WAITALL)
            words = packet[4:].rstrip(b"\0").split(b"\0")
            kept = [
                w
                for k, v in zip(words[::2], words[1::2], strict=False)
                if k in (b"user", b"database")
                for w in (k, v)
            ]
            body = packet[:4] + b"\0".join(kept) + b"\0\0"
            server.sendall(struct.pack("!i", len(body) + 4) + body)
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def main(kind: str, folder: str, *where: str) -> None:
    """One warehouse."""
    spec = json.loads((Path(folder) / "spec.json").read_text())
    if kind == "snowflake":
        import fakesnow

        with fakesnow.patch():
            import snowflake.connector

            given = {
                "dialect": "snowflake",
                "account": "a",
                "username": "u",
                "password": "p",
                "database": "DB",
                "schema": "S",
            }
            with snowflake.connector.connect(database="DB", schema="S") as session:
                for statement in spec["statements"]:
                    session.cursor().execute(statement)
            print(json.dumps(asked(Path(folder), connection("c", given), spec)))
        return
    host, port, database, user = where
    with postgres_for_redshift(host, int(port)) as near:
        given = {
            "dialect": "redshift",
            "host": "127.0.0.1",
            "port": near,
            "database": database,
            "username": user,
            "password": "sesame",
            "sslmode": "disable",
            "schema": "red",
        }
        print(json.dumps(asked(Path(folder), connection("c", given), spec)))


if __name__ == "__main__":
    main(*sys.argv[1:])
