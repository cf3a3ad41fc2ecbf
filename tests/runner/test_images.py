"""Jobs in images: files, writes that are the job's alone, users, entrypoints, pull policies. The images are
made here; no registry takes part."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runyard.model.plan import Image, Network
from runyard.model.state import Outcome, Reason
from runyard.model.work import Attempt
from tests.runner.conftest import Yard, sh

PROGRAMS = (
    "sh", "cat", "ls", "id", "chown", "chmod", "stat", "mkdir", "touch", "rm", "env", "grep", "sleep", "ln", "mv", "cp"
)  # fmt: skip
NAME = f"localhost/runyard-test-image:{os.getpid()}"
TOP = f"localhost/runyard-test-image:{os.getpid()}-top"
Make = Callable[..., str]


def with_libraries(program: Path, root: Path) -> None:
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in [str(program), *re.findall(r"(/\S+)", listed)]:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def imported(folder: Path, name: str, *changes: str) -> None:
    subprocess.run(["tar", "-cf", folder / "../root.tar", "-C", folder, "."], check=True)
    options = [part for change in changes for part in ("-c", change)]
    subprocess.run(
        ["podman", "import", *options, folder / "../root.tar", name], check=True, capture_output=True
    )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A root file system with sh and a few programs of this machine, and users of its own."""
    if os.geteuid() != 0 or shutil.which("podman") is None:
        pytest.skip("NOT TESTED: image jobs need root and podman")
    root = tmp_path_factory.mktemp("image") / "root"
    for program in PROGRAMS:
        with_libraries(Path("/bin") / program, root)
    for folder in ("etc", "root", "home/app", "var/lib/app", "opt", "usr/bin"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    os.chown(root / "home" / "app", 1234, 2345)
    (root / "etc" / "image-release").write_text("from the image\n")
    (root / "etc" / "resolv.conf").write_text("nameserver 6.6.6.6\n")
    (root / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\napp:x:1234:2345::/home/app:/bin/sh\n"
    )
    (root / "etc" / "group").write_text("root:x:0:\napp:x:2345:\nextra:x:777:app\n")
    (root / "opt" / "entry").write_text('#!/bin/sh\necho "entered as $0"\nexec "$@"\n')
    (root / "opt" / "entry").chmod(0o755)
    imported(root, NAME, "ENV FROM_IMAGE=yes", "ENV PATH=/opt:/usr/bin:/bin")
    yield NAME
    for name in (TOP, NAME):
        subprocess.run(["podman", "image", "umount", name], capture_output=True, check=False)
        subprocess.run(["podman", "rmi", "-f", name], capture_output=True, check=False)


def ran(yard: Yard, script: str, image: Image, **more: Any) -> str:
    attempt, log = _tried(yard, script, image, **more)
    assert attempt.outcome is Outcome.PASSED, log
    return log


def _tried(yard: Yard, script: str, image: Image, **more: Any) -> tuple[Attempt, str]:
    return yard.run(sh(script), image=image, **more)


@pytest.mark.root
def test_an_image_job_runs_on_the_images_files(yard: Yard, image: str) -> None:
    log = ran(
        yard,
        "cat /etc/image-release; echo $FROM_IMAGE; ls /; cat /etc/resolv.conf; echo w > made",
        Image(image),
    )
    assert "from the image\nyes\n" in log and "6.6.6.6" not in log


@pytest.mark.root
def test_root_of_an_image_may_change_it_and_nobody_else_sees_that(yard: Yard, image: str) -> None:
    """What a package manager does: new files, replaced files, owners, modes, removed files."""
    script = """
id -u; id -g
echo tool > /usr/bin/tool && chmod 4755 /usr/bin/tool && chown app:app /var/lib/app
echo changed > /etc/image-release && rm /opt/entry && mkdir -p /var/lib/dpkg/info
stat -c '%U:%G %a' /var/lib/app /usr/bin/tool; ls /opt; cat /etc/image-release; echo $HOME; pwd; touch made; stat -c %u made
"""
    log = ran(yard, script, Image(image))
    assert "0\n0\n" in log and "app:app 755\nroot:root 4755\n" in log and "changed\n/root\n/builds/" in log
    again = ran(yard, "cat /etc/image-release; ls /usr/bin/tool /opt/entry 2>&1 || true", Image(image))
    assert "from the image\n" in again and "/opt/entry\n" in again and "No such file" in again
    mounted = Path(subprocess.run(["podman", "image", "mount", image], capture_output=True, text=True, check=True).stdout.strip())  # fmt: skip
    assert (mounted / "etc" / "image-release").read_text() == "from the image\n"
    assert not (mounted / "usr" / "bin" / "tool").exists()


@pytest.mark.root
def test_root_of_an_image_is_nobody_outside(yard: Yard, image: str, tmp_path: Path) -> None:
    """Its files belong to users that nobody has, and what makes other roots, devices or mounts is closed."""
    script = """
cat /proc/self/uid_map; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
for p in /proc/sys/kernel/hostname /proc/sys/user/max_user_namespaces /proc/sysrq-trigger; do (echo 1 > $p) 2>/dev/null && echo "wrote $p"; done
ls -la /proc/1/root/ > /dev/null 2>&1 || true; ls /work /var/lib/containers 2>/dev/null && echo host-seen; echo end
"""
    log = ran(yard, script, Image(image))
    base = 0x40000000
    assert re.search(rf"0 +{base + 65536} +65536|0 +{base + 2 * 65536} +65536", log), log
    assert "wrote" not in log and "host-seen" not in log and "end" in log
    effective = int(re.search(r"CapEff:\s*([0-9a-f]+)", log)[1], 16)  # type: ignore[index]
    for forbidden in (12, 13, 16, 18, 19, 21, 22, 23, 24, 25, 27):  # net_admin … sys_admin … mknod
        assert not effective >> forbidden & 1, forbidden


@pytest.mark.root
def test_an_image_user_is_who_the_image_or_the_job_says(yard: Yard, image: str, tmp_path: Path) -> None:
    who = "id -u; id -g; id -G; echo $HOME; (echo x > /etc/x) 2>/dev/null || echo refused; touch ~/mine && echo w > made && stat -c %u made; mkdir /tmp/t"
    log = ran(yard, who, Image(image, user="app"))
    assert "1234\n2345\n" in log and "/home/app\nrefused\n1234\n" in log
    assert "7\n0\n" in ran(yard, "id -u; id -g; echo w > made", Image(image, user="7:0"))
    for nobody in ("ghost", "app:ghost", "99999"):
        attempt, log = _tried(yard, "true", Image(image, user=nobody))
        assert (attempt.outcome, attempt.reason) == (Outcome.ERRORED, Reason.RUNNER_SYSTEM), log


@pytest.mark.root
def test_entrypoints_go_before_the_shell_of_gitlab_jobs_only(yard: Yard, image: str, tmp_path: Path) -> None:
    top = tmp_path / "top" / "root"
    top.mkdir(parents=True)
    file = tmp_path / "Containerfile"
    file.write_text(f'FROM {image}\nENTRYPOINT ["/opt/entry"]\nUSER app\nCOPY layer /var/lib/app/layer\n')
    (tmp_path / "layer").write_text("upper layer\n")
    build = ["podman", "build", "--pull=never", "-t", TOP, "-f", file, tmp_path]
    subprocess.run(build, check=True, capture_output=True)
    script = "cat /var/lib/app/layer /etc/image-release; id -u"
    log = ran(yard, script, Image(TOP), stock=True)
    assert "entered as /opt/entry\nupper layer\nfrom the image\n1234\n" in log
    assert "entered" not in ran(yard, script, Image(TOP, entrypoint=("",)), stock=True)
    assert "entered" not in ran(yard, script, Image(TOP))
    assert "K=v" in ran(yard, "env", Image(TOP, entrypoint=("/bin/env", "K=v")), stock=True)


@pytest.mark.root
def test_a_pull_policy_decides_whether_what_is_here_will_do(yard: Yard, image: str) -> None:
    for policy in ("never", "if-not-present", ("always", "if-not-present")):
        ran(yard, "true", Image(image, options={"pull_policy": policy}))
    for name, policy in ((image, "always"), ("localhost/runyard-absent:1", "never"), (image, "sometimes")):
        attempt, log = _tried(yard, "true", Image(name, options={"pull_policy": policy}))
        assert (attempt.outcome, attempt.reason) == (Outcome.ERRORED, Reason.IMAGE_UNAVAILABLE), log


@pytest.mark.root
def test_a_name_that_was_given_to_another_image_means_that_one_at_once(
    yard: Yard, image: str, tmp_path: Path
) -> None:
    root, name = tmp_path / "root", f"{image}-again"
    with_libraries(Path("/bin/sh"), root)
    with_libraries(Path("/bin/cat"), root)
    for text in ("first", "second"):
        (root / "which").write_text(text)
        imported(root, name)
        assert text in ran(yard, "cat /which", Image(name))
    subprocess.run(["podman", "rmi", "-f", name], check=True, capture_output=True)


def test_image_jobs_leave_nothing_behind(yard: Yard, image: str) -> None:
    """Neither processes nor mounts of the host nor files that only another user could remove."""
    sleep = f"sleep 1000.{secrets.randbelow(10**9)}"  # other tests' jobs may be there
    script = f"{sleep} & mkdir -p /opt/deep && chown app /opt/deep && chmod 0 /opt/deep"
    attempt, _ = _tried(yard, script, Image(image), network=Network.NONE)
    assert attempt.outcome is Outcome.PASSED
    assert "runyard-stage/" not in Path("/proc/self/mountinfo").read_text()
    listed = subprocess.run(["ps", "-eo", "stat,args"], capture_output=True, text=True, check=True).stdout
    assert [line for line in listed.splitlines() if sleep in line and not line.startswith("Z")] == []


def test_image_names_cannot_be_options(yard: Yard) -> None:
    for name in ("--privileged", "-v/:/h", "alpine --net=host", "../x", ""):
        attempt, _ = yard.run(sh("true"), image=Image(name))
        assert (attempt.outcome, attempt.reason) == (Outcome.ERRORED, Reason.IMAGE_UNAVAILABLE)
