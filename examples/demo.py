"""`make demo`: a server, the four example projects, one run through each door with that vendor's own client,
one table.

Exit 0 only if all four ended as expected. Keeps serving afterwards when it has a terminal, so that the page
can be looked at; Ctrl-C ends it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
PYTHON = ROOT / ".venv-clients/bin/python"
DATAFOLD = ROOT / ".venv-clients/bin/datafold"
DEPOT = ROOT / ".clients/node_modules/@depot/cli-linux-x64/bin/depot"
TOKEN = "glpat-demo-root-token"


@dataclass
class Row:
    """One door's line of the table."""

    door: str
    run: str = "-"
    jobs: str = "-"
    outcome: str = "not run"
    seconds: float = 0.0
    expected: str = ""

    @property
    def good(self) -> bool:
        return self.outcome == self.expected


class Demo:
    """The server and what the doors share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        env = {**os.environ, "RUNYARD_ROOT_TOKEN": TOKEN}
        log = (folder / "server.log").open("w")
        argv = [
            sys.executable,
            "-m",
            "runyard",
            "serve",
            "--data",
            str(folder / "data"),
            "--listen",
            "127.0.0.1:0",
        ]
        self.server = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.server.stdout.readline() if self.server.stdout else ""
        if not line.startswith("runyard ready "):
            raise SystemExit(f"the server did not start:\n{(folder / 'server.log').read_text()}")
        self.url = line.split()[-1]

    def push(self, example: str) -> tuple[Path, str]:
        """Pushes examples/<example> as demo/<example>; returns the working copy and its commit."""
        work = self.folder / example
        shutil.copytree(
            HERE / example, work, ignore=shutil.ignore_patterns("*.duckdb", "*.db", "__pycache__")
        )
        push = f"{self.url.replace('://', f'://root:{TOKEN}@')}/demo/{example}.git"
        for command in (
            ["init", "-q", "-b", "main"],
            ["add", "-A"],
            ["commit", "-qm", f"The {example} example"],
            ["remote", "add", "origin", push],
            ["push", "-q", "-u", "origin", "main"],
        ):
            subprocess.run(
                ["git", "-c", "user.name=Demo", "-c", "user.email=demo@example.org", *command],
                cwd=work, check=True, capture_output=True,
            )  # fmt: skip
        sha = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=work, check=True, capture_output=True, text=True
        )
        return work, sha.stdout.strip()

    def follow(self, argv: list[str], cwd: Path | None = None, **env: str) -> str:
        """Runs a client, shows its output as it comes, returns it."""
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            if not line.startswith("RESULT"):
                print(f"    {line.rstrip()[:150]}", flush=True)
        process.wait()
        return "".join(lines)

    def api(self, method: str, path: str, body: object) -> dict[str, object]:
        """A call of the Datafold door, for what its client has no command for."""
        import json
        import urllib.request

        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), method=method)
        request.add_header("Authorization", f"Key {TOKEN}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def gitlab(demo: Demo, row: Row) -> None:
    """git push, then python-gitlab."""
    demo.push("gitlab")
    said = demo.follow(
        [str(PYTHON), str(HERE / "clients/with_python_gitlab.py"), demo.url, TOKEN, "demo/gitlab"]
    )
    _take(row, said)


def depot(demo: Demo, row: Row) -> None:
    """The depot CLI."""
    work, _ = demo.push("depot")
    env = {
        "DEPOT_API_URL": demo.url,
        "DEPOT_TOKEN": TOKEN,
        "DEPOT_NO_UPDATE_NOTIFIER": "1",
        "HOME": str(demo.folder),
    }
    env |= {"DEPOT_CACHE_HOST": demo.url}
    cli = str(DEPOT)
    said = demo.follow(
        [cli, "ci", "run", "--repo", "demo/depot", "--workflow", ".depot/workflows/ci.yml"], work, **env
    )
    run = re.search(r"Run: *(\S+)", said)
    if run is None:
        return
    row.run = run[1]
    status = ""
    while not re.search(r"^Run: \S+ \((finished|failed|cancelled)\)", status, re.M):
        time.sleep(0.4)
        done = subprocess.run(
            [cli, "ci", "status", row.run], env={**os.environ, **env}, capture_output=True, text=True
        )
        status = done.stdout + done.stderr
        if done.returncode:
            break
    print("    " + status.replace("\n", "\n    "))
    row.jobs = str(len(re.findall(r"^ +Job: ", status, re.M)))
    found = re.search(r"^Run: \S+ \((\w+)\)", status, re.M)
    row.outcome = found[1] if found else "unknown"


def looker(demo: Demo, row: Row) -> None:
    """looker-sdk."""
    demo.push("looker")
    database = demo.folder / "looker.duckdb"
    subprocess.run([sys.executable, str(HERE / "looker/make_database.py"), str(database)], check=True)
    env = {"LOOKERSDK_BASE_URL": demo.url, "LOOKERSDK_CLIENT_ID": "root", "LOOKERSDK_CLIENT_SECRET": TOKEN}
    script = str(HERE / "clients/with_looker_sdk.py")
    _take(row, demo.follow([str(PYTHON), script, "demo/looker", "shop", str(database)], **env))


def datafold(demo: Demo, row: Row) -> None:
    """The datafold CLI."""
    _, sha = demo.push("datafold")
    database = demo.folder / "warehouse.duckdb"
    subprocess.run([sys.executable, str(HERE / "datafold/make_database.py"), str(database)], check=True)
    source = demo.api(
        "POST",
        "/api/v1/data_sources",
        {"name": "warehouse", "type": "duckdb", "options": {"path": str(database)}},
    )
    config = demo.api(
        "POST", "/api/v1/ci", {"name": "demo", "repository": "demo/datafold", "data_source_id": source["id"]}
    )
    env = {"DATAFOLD_HOST": demo.url, "DATAFOLD_API_KEY": TOKEN}
    ci = [str(DATAFOLD), "ci"]
    given = ["--ci-config-id", str(config["id"]), "--pr-num", "7"]
    base = ["--base-branch", "main", "--base-sha", sha, "--pr-branch", "main", "--pr-sha", sha]
    demo.follow([*ci, "trigger", *given, *base], **env)
    demo.follow([*ci, "submit", *given, "--diffs", str(HERE / "datafold/diffs.json")], **env)
    while True:
        import json
        import urllib.request

        request = urllib.request.Request(f"{demo.url}/api/v1/ci/{config['id']}/runs?pr_sha={sha}&limit=1")
        request.add_header("Authorization", f"Key {TOKEN}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            run = json.load(answer)[0]
        print(f"    run {run['id']} {run['status']}", flush=True)
        if run["status"] in ("done", "failed", "cancelled"):
            break
        time.sleep(0.4)
    row.run, row.outcome = str(run["id"]), run["status"]
    row.jobs = str(len(json.loads((HERE / "datafold/diffs.json").read_text())))


def _take(row: Row, said: str) -> None:
    found = re.search(r"^RESULT run=(\S+) jobs=(\S+) outcome=(\S+)", said, re.M)
    if found:
        row.run, row.jobs, row.outcome = found.groups()


DOORS: list[tuple[str, str, Callable[[Demo, Row], None], str]] = [
    ("gitlab", "python-gitlab", gitlab, "success"),
    ("depot", "depot CLI", depot, "finished"),
    ("looker", "looker-sdk", looker, "passed"),
    ("datafold", "datafold-sdk", datafold, "done"),
]


def main() -> int:
    """Everything, then the table."""
    folder = Path(tempfile.mkdtemp(prefix="runyard-demo-"))
    demo = Demo(folder)
    rows = []
    try:
        for number, (name, client, door, expected) in enumerate(DOORS, 1):
            print(f"\n[{number}/{len(DOORS)}] {name}, with {client}", flush=True)
            row = Row(name, expected=expected)
            start = time.perf_counter()
            try:
                door(demo, row)
            except (OSError, subprocess.SubprocessError, KeyError, ValueError) as error:
                row.outcome = f"{type(error).__name__}: {error}"[:60]
            row.seconds = time.perf_counter() - start
            rows.append(row)
        print(f"\n{'door':<10}{'run':<14}{'jobs':>5}  {'outcome':<12}{'seconds':>8}")
        for row in rows:
            print(
                f"{row.door:<10}{row.run:<14}{row.jobs:>5}  {row.outcome:<12}{row.seconds:>8.1f}{'' if row.good else '   expected ' + row.expected}"
            )
        stays = sys.stdin.isatty() and sys.stdout.isatty()
        until = "until Ctrl-C" if stays else "ended with this; in a terminal it stays"
        print(f"\npage   {demo.url}   (sign in with {TOKEN}; {until})")
        if stays:
            demo.server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        demo.server.terminate()
        demo.server.wait(30)
    if all(row.good for row in rows):
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    print(f"what happened lies in {folder}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
