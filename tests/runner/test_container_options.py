"""What `container.options` and `volumes` of a job come to in its box. The image is made here; no registry
takes part."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from runyard.model.plan import Image
from runyard.model.state import Outcome, Reason
from runyard.model.work import Attempt
from tests.runner.conftest import Yard, sh
from tests.runner.test_images import image as image

pytestmark = pytest.mark.root
LINKED = f"localhost/runyard-test-linked:{os.getpid()}"


@pytest.fixture(scope="module")
def linked(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image with links on the way to places."""
    folder = tmp_path_factory.mktemp("linked")
    root = folder / "root"
    root.mkdir()
    for name, leads in {"there": "/opt/real", "circle": "/circle", "proc-too": "/proc"}.items():
        (root / name).symlink_to(leads)
    (folder / "Containerfile").write_text(f"FROM {image}\nCOPY root/ /\n")
    subprocess.run(
        ["podman", "build", "--pull=never", "-t", LINKED, str(folder)], check=True, capture_output=True
    )
    yield LINKED
    subprocess.run(["podman", "image", "umount", LINKED], capture_output=True, check=False)
    subprocess.run(["podman", "rmi", "-f", LINKED], capture_output=True, check=False)


def tried(yard: Yard, script: str, name: str, create: str = "", volumes: tuple[str, ...] = (), **more: Any) -> tuple[Attempt, str]:  # fmt: skip
    asked = Image(name, options={"create": create, "volumes": list(volumes)})
    return yard.run(sh(script), image=asked, late={"github.workspace": "${{ runner.workspace }}"}, **more)


def ran(yard: Yard, script: str, name: str, create: str = "", volumes: tuple[str, ...] = ()) -> str:
    attempt, log = tried(yard, script, name, create, volumes)
    assert attempt.outcome is Outcome.PASSED, log
    return log


def test_names_environment_and_user(yard: Yard, image: str) -> None:
    create = "--hostname box --add-host db:10.1.2.3 --dns 9.9.9.9 --dns-search corp.example -e SAID=${{ 'late' }} --user app --group-add 777"
    log = ran(
        yard,
        "cat /etc/hosts /etc/resolv.conf /proc/sys/kernel/hostname; echo $SAID; id -u; id -G",
        image,
        create,
    )
    for line in (
        "127.0.0.1 localhost",
        "10.1.2.3 db",
        "127.0.0.1 box",
        "nameserver 9.9.9.9",
        "search corp.example",
        "\nbox\nlate\n1234\n",
        "2345 65534",  # a user namespace of one's own does not know more groups' numbers
    ):
        assert line in log, log
    assert "10.1.2.3" not in ran(yard, "cat /etc/hosts", image)
    assert "\n0 777 4321\n" in ran(yard, "id -G", image, "--group-add extra --group-add 4321")


def test_capabilities_of_root(yard: Yard, image: str) -> None:
    refused = "chown app /opt || echo [refused]; grep CapEff /proc/self/status"
    assert "[refused]\nCapEff:\t0000000000000000" in ran(yard, refused, image, "--cap-drop ALL")
    assert "[refused]" not in ran(yard, refused, image, "--cap-drop ALL --cap-add CHOWN")


def test_a_read_only_container_has_a_few_places_to_write(yard: Yard, image: str) -> None:
    script = """
(echo x > /opt/x) 2>/dev/null || echo [closed]
echo x > ~/x; echo x > /data/x; echo x > /run/x; echo x > /tmp/x; echo x > here; cat /var/lib/app/x 2>/dev/null || echo [empty]
(echo x > /var/lib/app/x) 2>/dev/null || echo [read-only]; stat -c %a /run; grep ' /run ' /proc/self/mounts
"""
    volumes = ("data:/data", "app:/var/lib/app:ro")
    log = ran(yard, script, image, "--read-only --tmpfs /run:size=1m,mode=750", volumes)
    assert "[closed]\n[empty]\n[read-only]\n750\ntmpfs /run tmpfs" in log and "size=1024k" in log


def test_a_volume_begins_with_what_the_image_has_there_and_ends_with_the_job(yard: Yard, image: str) -> None:
    script = (
        "stat -c '%u %n' /home/app /new/deep; touch /home/app/mine /new/deep/mine; ls /home/app /new/deep"
    )
    volumes = ("home:/home/app", "/new/deep")
    log = ran(yard, script, image, volumes=volumes)
    assert "1234 /home/app\n0 /new/deep\n" in log
    assert log.count("mine") == 2 == ran(yard, script, image, volumes=volumes).count("mine")


def test_the_workspace_is_shown_in_other_places_too(yard: Yard, image: str) -> None:
    volumes = ("${{ github.workspace }}/sub:/app", "${{ github.workspace }}:/all:ro")
    script = (
        "echo from > /app/file; cat sub/file /all/sub/file; (echo x > /all/x) 2>/dev/null || echo [read-only]"
    )
    assert "from\nfrom\n[read-only]" in ran(yard, script, image, volumes=volumes)
    asked = Image(image, options={"volumes": list(volumes)})
    late = {"github.workspace": "${{ runner.workspace }}"}
    attempt, log = yard.run(sh("pwd", cwd="/app"), image=asked, late=late)
    assert attempt.outcome is Outcome.PASSED and "\n/app\n" in log, log


def test_a_volume_follows_links_of_the_image_within_it(yard: Yard, image: str, linked: str) -> None:
    log = ran(yard, "ls -d /opt/real/made; (echo x > /opt/real/made/x) 2>/dev/null || echo [read-only]", linked, volumes=("made:/there/made:ro",))  # fmt: skip
    assert "/opt/real/made\n[read-only]" in log
    for place in ("/circle/x", "/proc-too", "/etc/passwd/x"):
        attempt, log = tried(yard, "true", linked, volumes=(place,))
        assert (attempt.outcome, attempt.reason) == (Outcome.ERRORED, Reason.IMAGE_UNAVAILABLE), log


def test_memory_of_the_container_is_a_limit(yard: Yard, image: str) -> None:
    hog = "x=0123456789abcdef; while :; do x=$x$x; done"
    attempt, log = tried(yard, hog, image, "--memory 32m --tmpfs /big", timeout_s=30)
    assert attempt.outcome is Outcome.FAILED, log
    assert attempt.reason is Reason.OUT_OF_MEMORY, log
    much = "x=0123456789abcdef; i=0; while [ $i -lt 22 ]; do x=$x$x; i=$((i + 1)); done"
    ran(yard, much, image)


@pytest.mark.parametrize(
    ("create", "volumes", "said"),
    [
        ("${{ '--privileged' }}", (), "The option '--privileged' is not served"),
        ("", ("/etc:/x",), "Nothing of the runner's disk"),
        ("", ("${{ github.workspace }}2:/x",), "Nothing of the runner's disk"),
        ("", ("${{ github.workspace }}/../../..:/x",), "a path without"),
        ("", ("same:/x", "same:/y"), "not served in more than one place"),
    ],
)
def test_what_is_known_late_is_refused_late(
    yard: Yard, image: str, create: str, volumes: tuple[str, ...], said: str
) -> None:
    attempt, log = tried(yard, "true", image, create, volumes)
    assert (attempt.outcome, attempt.reason) == (Outcome.ERRORED, Reason.BAD_PLAN) and said in log
