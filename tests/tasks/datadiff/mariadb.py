"""A MariaDB server private to the test session: own folder, own port, no durability; it dies with us."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pymysql

NO_MARIADB = "no MariaDB server: install Debian's mariadb-server package"


def installed() -> bool:
    """Whether the two programs are there."""
    return all(
        shutil.which(p, path=f"{os.environ['PATH']}:/usr/sbin") for p in ("mariadbd", "mariadb-install-db")
    )


class MariaDb:
    """One process. As root it runs as the user `mysql`, because it refuses to be root."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="runyard-my-"))
        as_user = ["setpriv", "--pdeathsig", "KILL"]
        user: list[str] = []
        if os.geteuid() == 0:
            account = pwd.getpwnam("mysql")
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            as_user += ["--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--init-groups"]
            user = ["--user=mysql"]
        env = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
        data = f"--datadir={self.folder}/data"
        small = ["--innodb-log-file-size=8M", "--innodb-buffer-pool-size=64M", "--innodb-flush-method=nosync"]
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                data,
                *user,
                *small,
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ],
            check=True,
            capture_output=True,
            env=env,
            cwd=self.folder,
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [
                *as_user,
                "mariadbd",
                "--no-defaults",
                data,
                f"--port={self.port}",
                "--bind-address=127.0.0.1",
                f"--socket={self.folder}/s",
                f"--pid-file={self.folder}/pid",
                *small,
                "--innodb-flush-log-at-trx-commit=0",
                "--skip-log-bin",
                "--performance-schema=OFF",
            ],
            stdout=log,
            stderr=log,
            env=env,
            cwd=self.folder,
        )
        log.close()
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + 60
        while True:
            try:
                self.connect().close()
                return
            except pymysql.OperationalError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.05)

    def connect(self, database: str | None = None) -> Any:
        """A connection of its administrator."""
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="root",
            database=database,
            charset="utf8mb4",
            autocommit=True,
        )

    def remove(self) -> None:
        """Ends it and takes its folder away."""
        self.process.kill()
        self.process.wait(30)
        with contextlib.suppress(OSError):
            shutil.rmtree(self.folder)
