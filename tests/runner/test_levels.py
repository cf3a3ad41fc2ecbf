"""Which sandbox level is chosen where, and that each says why. The lower levels are tried as a user without
rights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from runyard.runner.sandbox import BoxPlan, Level, Limits, SandboxError, bpf, cgroups, choose, levels
from runyard.runner.sandbox.box import program_in
from runyard.runner.sandbox.network import Outside
from runyard.runner.sandbox.spawner import Spawner

SOURCE = Path(__file__).parents[2] / "src"
HOSTILE = Path(__file__).with_name("hostile_job.py")

PROGRAM = """
import json, os, sys
from pathlib import Path
from runyard.model.plan import Network
from runyard.runner.sandbox import BoxPlan, choose
sandbox = choose(Path(sys.argv[1]) / "work", network=Network.INTERNET)
box = sandbox.open(BoxPlan(1, "group/app", Network.INTERNET))
process = box.run(("python3", "-c", Path(sys.argv[2]).read_text(), sys.argv[3]), {"PATH": "/usr/bin:/bin", "X": "hex-value"}, box.inside.workspace)
said = os.fdopen(process.output, "rb").read().decode()
print(json.dumps({"level": sandbox.level, "notes": sandbox.notes, "code": process.wait(30), "left": box.close(), "worked": json.loads(said.splitlines()[-1])}))
sandbox.close()
"""


@pytest.mark.root
def test_without_rights_the_level_is_bubblewrap_and_says_what_is_missing(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("setpriv") or not Path("/usr/bin/python3").exists():
        pytest.skip("NOT TESTED: needs root to become nobody")
    folder = Path("/var/tmp") / f"runyard-test-{os.getpid()}"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    given = {
        "secret": str(tmp_path),
        "pid": os.getpid(),
        "port": 1,
        "abstract": "none",
        "addresses": [],
        "work": str(folder),
    }
    argv = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "/usr/bin/python3",
        "-c",
        PROGRAM,
        str(folder),
    ]
    battery = folder / "hostile.py"
    battery.write_text(HOSTILE.read_text())
    battery.chmod(0o644)
    try:
        done = subprocess.run(
            [*argv, str(battery), json.dumps(given)], env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(SOURCE)},
            capture_output=True, text=True, timeout=60, cwd="/",
        )  # fmt: skip
        if done.returncode != 0 and "SandboxError" in done.stderr:
            pytest.skip(f"NOT TESTED: users may not make namespaces here: {done.stderr.splitlines()[-1]}")
        found = json.loads(done.stdout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert found["level"] == "bubblewrap" and found["code"] == 0 and found["left"] == []
    assert any("not root" in note for note in found["notes"]) and any(
        "no network" in note for note in found["notes"]
    )
    assert {name for name, did in found["worked"].items() if did} == set()


def test_without_bubblewrap_nothing_runs_unless_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels.shutil, "which", lambda name, *a, **k: None)
    with pytest.raises(SandboxError, match="apt install bubblewrap"):
        choose(tmp_path / "work")
    sandbox = choose(tmp_path / "work", allow_plain=True)
    assert sandbox.level is Level.PLAIN
    assert any("NOT isolated" in note for note in sandbox.notes)
    sandbox.close()


def test_a_missing_slirp_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runyard.model.plan import Network
    from runyard.runner.sandbox import network

    monkeypatch.setattr(network.shutil, "which", lambda name: None)
    spawner = Spawner()
    outside = Outside(spawner, Network.INTERNET)
    spawner.close()
    assert "slirp4netns" in outside.note or "root" in outside.note


def test_hierarchies_of_every_kind_of_machine_are_found() -> None:
    v2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
    (one,) = cgroups.hierarchies(v2, "0::/system.slice/runyard.service\n")
    assert (one.version, one.base) == (2, Path("/sys/fs/cgroup/system.slice/runyard.service"))
    v1 = "40 23 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n41 23 0:32 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    found = cgroups.hierarchies(v1, "5:memory:/a\n4:cpu,cpuacct:/\n0::/\n")
    assert [(h.version, str(h.base)) for h in found] == [
        (1, "/sys/fs/cgroup/memory/a"),
        (1, "/sys/fs/cgroup/cpu,cpuacct"),
    ]
    inside = "30 23 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    (one,) = cgroups.hierarchies(inside, "0::/docker/abc\n")
    assert one.base == Path("/sys/fs/cgroup")
    assert cgroups.hierarchies("30 23 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 ro\n", "0::/\n") == []


def test_the_filter_is_made_for_known_machines_only() -> None:
    for machine in ("x86_64", "aarch64"):
        program = bpf.build(machine)
        assert program is not None and len(program) % 8 == 0 and len(program) // 8 < 4096
    assert bpf.build("riscv64") is None


def test_the_plain_level_runs_and_cleans(tmp_path: Path) -> None:
    from runyard.runner.sandbox.plain import PlainSandbox

    sandbox = PlainSandbox(tmp_path / "work", Limits(), ())
    (tmp_path / "work").mkdir()
    box = sandbox.open(BoxPlan(1, "group/app"))
    process = box.run(
        ("sh", "-c", "echo $A; exit 4"), {"PATH": "/usr/bin:/bin", "A": "b"}, box.inside.workspace
    )
    with os.fdopen(process.output, "rb") as output:
        assert output.read() == b"b\n"
    assert process.wait(10) == 4
    assert box.close() == []
    sandbox.close()


def test_what_cannot_be_run_says_so_as_a_shell_would(tmp_path: Path) -> None:
    sandbox = choose(tmp_path / "work", allow_plain=True)
    box = sandbox.open(BoxPlan(1, "group/app"))
    here, path = box.inside.workspace, {"PATH": "/usr/bin:/bin"}
    for argv, cwd, code, words in (
        ("no-such-program", here, 127, b"cannot run no-such-program"),
        ("/etc/passwd", here, 126, b"Permission denied"),
        ("true", f"{here}/nowhere", 127, b"nowhere: No such file or directory"),
    ):
        process = box.run((argv,), path, cwd)
        with os.fdopen(process.output, "rb") as output:
            assert words in output.read()
        assert process.wait(10) == code
    box.close()
    sandbox.close()


def test_two_runners_cannot_share_a_folder_and_a_crashed_ones_slots_are_removed(tmp_path: Path) -> None:
    first = choose(tmp_path / "work", allow_plain=True)
    with pytest.raises(SandboxError, match="another runner"):
        choose(tmp_path / "work", allow_plain=True)
    first.close()
    (tmp_path / "work" / "slot9" / "builds").mkdir(parents=True)
    second = choose(tmp_path / "work", allow_plain=True)
    assert not (tmp_path / "work" / "slot9").exists()
    second.close()


def test_the_best_shell_is_looked_for_inside_the_image(tmp_path: Path) -> None:
    def program(path: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()

    assert (
        program_in(str(tmp_path), ("bash", "sh")) == "sh"
    )  # nothing there: the sandbox says so when it starts it
    program("usr/bin/sh")
    assert program_in(str(tmp_path), ("bash", "sh")) == "/usr/bin/sh"
    (tmp_path / "bin").symlink_to("/bin")  # leads to our own /bin, which has a bash
    assert program_in(str(tmp_path), ("bash", "sh")) == "/usr/bin/sh"
    program("usr/bin/bash")
    assert program_in(str(tmp_path), ("bash", "sh")) == "/usr/bin/bash"
    program("usr/local/bin/bash")
    assert program_in(str(tmp_path), ("bash", "sh")) == "/usr/local/bin/bash"
