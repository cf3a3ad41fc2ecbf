"""Services: containers beside a job, reachable by their names. The image is made here of this machine's perl;
no registry takes part."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runyard.model.plan import Image, Network, StepPlan, Variable
from runyard.model.state import Outcome, Reason
from runyard.runner.sandbox import overlay, services
from tests.runner.conftest import Yard, sh
from tests.runner.test_images import imported, with_libraries

pytestmark = pytest.mark.root
NAME = f"localhost:5000/runyard/test/talker-{os.getpid()}:1"
SERVER = """
use Socket; $| = 1;
socket(my $s, PF_INET, SOCK_STREAM, 0); setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
bind($s, sockaddr_in($ARGV[0], INADDR_ANY)) or die "cannot bind: $!"; listen($s, 5); print "listening\n";
while (accept(my $c, $s)) { my $said = $ARGV[1]; $said =~ s/\\$(\\w+)/$ENV{$1}/g; print $c "$said\n"; close $c; }
"""


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image that says its second argument to whoever connects to the port that is its first."""
    if os.geteuid() != 0 or shutil.which("podman") is None:
        pytest.skip("NOT TESTED: services need root and podman")
    root = tmp_path_factory.mktemp("talker") / "root"
    for program in ("/bin/sh", "/usr/bin/perl"):
        with_libraries(Path(program), root)
    modules = next(Path(p) for p in subprocess.run(["perl", "-e", 'print join "\n", @INC'], capture_output=True, text=True, check=True).stdout.split() if Path(p, "Socket.pm").exists() and "perl-base" in p)  # fmt: skip
    shutil.copytree(modules, root / str(modules).lstrip("/"))
    (root / "server.pl").write_text(SERVER)
    imported(
        root,
        NAME,
        'ENTRYPOINT ["/usr/bin/perl", "/server.pl"]',
        'CMD ["7000", "hello from $WHO"]',
        "EXPOSE 7000",
    )
    yield NAME
    subprocess.run(["podman", "rmi", "-f", NAME], capture_output=True, check=False)


def asking(script: str) -> StepPlan:
    """A step with `ask HOST PORT`."""
    head = "ask() { exec 3<>/dev/tcp/$1/$2 && cat <&3; exec 3>&-; }\n"
    return StepPlan("script", "script", argv=("bash", "-e", "{script}"), script=head + script)


def ours() -> list[str]:
    """Processes of services that still live; those of other tests, which run beside this one, get ten seconds
    to end."""
    listed = ["ps", "-eo", "uid,stat,args", "--no-headers"]
    first = overlay.base_of(services.FIRST_SLOT)
    for _ in range(100):
        rows = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
        left = [row for row in rows if int(row.split()[0]) >= first and not row.split()[1].startswith("Z")]
        if not left:
            break
        time.sleep(0.1)
    return left


def test_a_service_is_as_its_options_ask(yard: Yard, talker: str) -> None:
    create = "--read-only --tmpfs /run --network-alias second -v kept:/kept -w /kept -e WHO=options --hostname mine --entrypoint /bin/sh"
    made = Image(
        talker,
        alias="first",
        options={"create": create},
        command=(
            "-c",
            'echo x > /x; echo y > y && read host < /proc/sys/kernel/hostname && exec /usr/bin/perl /server.pl 7000 "from $WHO in $(pwd) of $host"',
        ),
    )
    attempt, log = yard.run(asking("ask first 7000; ask second 7000"), services=(made,))
    assert attempt.outcome is Outcome.PASSED, log
    assert log.count("from options in /kept of mine\n") == 2, log


def test_services_answer_by_their_names(yard: Yard, talker: str) -> None:
    """Two of one port, told apart by alias; their own variables come over the job's public ones, a secret
    reaches none."""
    script = asking(
        "ask one 7000; ask two 7000; ask other 7000; ask localhost__runyard__test__talker-PID 7000; cat /etc/hosts".replace(
            "PID", str(os.getpid())
        )
    )
    one = Image(talker, alias="one", env={"WHO": "its own"})
    two = Image(talker, alias="two, other", command=("7000", "second, for $WHO and $SECRET"))
    variables = (Variable("WHO", "the job"), Variable("SECRET", "hush", masked=True, public=False))
    attempt, log = yard.run(script, services=(one, two), variables=variables, network=Network.NONE)
    assert attempt.outcome is Outcome.PASSED, log
    answers = [line for line in log.splitlines() if line.startswith(("hello", "second"))]
    second = "second, for the job and "
    assert answers == ["hello from its own", second, second, "hello from its own"], log
    assert ours() == []


def test_services_are_heard_in_the_log_when_the_job_asks_for_it(yard: Yard, talker: str) -> None:
    loud = Image(
        talker, alias="loud", entrypoint=("/bin/sh", "-c"), command=("echo here I am; printf 'no end'; exec perl /server.pl 7000 x",)
    )  # fmt: skip
    for asked in ("true", "false"):
        variables = (Variable("CI_DEBUG_SERVICES", asked),)
        attempt, log = yard.run(
            asking("ask loud 7000; sleep 0.3; echo after"), services=(loud,), variables=variables
        )
        assert attempt.outcome is Outcome.PASSED, log
        heard = [line for line in log.splitlines() if "here I am" in line]
        assert bool(heard) is (asked == "true"), log
        assert all(line.startswith("[service:") and line.endswith("-loud] here I am") for line in heard), log


def test_services_share_the_way_out_of_the_job_and_reach_each_other(yard: Yard, talker: str) -> None:
    script = asking("ask one 7000; getent hosts one two build | head -3; echo done")
    found, log = yard.run(
        script, services=(Image(talker, alias="one"), Image(talker, alias="two")), network=Network.INTERNET
    )
    assert found.outcome is Outcome.PASSED and "hello from" in log and "done" in log, log
    again, log = yard.run(
        asking("ask one 7000"), services=(Image(talker, alias="one"),), network=Network.INTERNET
    )
    assert again.outcome is Outcome.PASSED, log


def test_a_service_is_waited_for_until_its_health_command_succeeds(yard: Yard, talker: str) -> None:
    """It begins to listen after two seconds; the job, begun at once, would give up after one."""
    late = "perl -e 'sleep 2'; : > /ready; exec perl /server.pl 7000 well"
    slow = Image(
        talker, alias="slow", entrypoint=("/bin/sh", "-c"), command=(late,),
        options={"health": {"command": 'test -f /ready && test "$WHO" = its', "interval_s": 0.2}}, env={"WHO": "its"},
    )  # fmt: skip
    script = asking("for n in 1 2 3 4 5; do (ask slow 7000) 2>/dev/null && exit 0; sleep 0.2; done; exit 1")
    attempt, log = yard.run(script, services=(slow,))
    assert attempt.outcome is Outcome.PASSED and "\nwell\n" in log, log


def test_a_service_that_stays_ill_ends_the_job_with_its_words(yard: Yard, talker: str) -> None:
    ill = Image(
        talker, alias="ill", entrypoint=("/bin/sh", "-c"), command=("echo no disk; exec perl -e 'sleep 60'",),
        options={"health": {"command": "exec perl -e 'sleep 60'", "interval_s": 0.1, "timeout_s": 0.3, "retries": 1}},
    )  # fmt: skip
    attempt, log = yard.run(asking("echo began"), services=(ill,))
    assert (attempt.outcome, attempt.reason) == (Outcome.ERRORED, Reason.IMAGE_UNAVAILABLE), log
    assert "Failed to initialize, ill service is unhealthy" in attempt.message
    assert "no disk" in log and "began" not in log
    assert ours() == []


def test_a_service_that_never_listens_is_a_warning_with_its_words(
    yard: Yard, talker: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(services, "READY_S", 5.0)
    began = time.monotonic()
    dead = Image(
        talker, alias="dead", entrypoint=("/bin/sh", "-c"), command=("echo out of order >&2; exit 3",)
    )
    attempt, log = yard.run(sh("echo went on"), services=(dead,), network=Network.NONE)
    assert attempt.outcome is Outcome.PASSED and "went on" in log
    assert "probably didn't start properly" in log and "out of order" in log
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "image", [Image("localhost/runyard-absent:1", options={"pull_policy": "never"}), Image("--privileged")]
)
def test_a_service_that_cannot_be_had_ends_the_job(yard: Yard, talker: str, image: Image) -> None:
    attempt, log = yard.run(sh("echo never"), services=(Image(talker), image))
    assert (attempt.outcome, attempt.reason) == (
        Outcome.ERRORED,
        Reason.IMAGE_UNAVAILABLE,
    ) and "never\n" not in log
    assert ours() == []


@pytest.mark.parametrize(
    ("image", "alias", "names"),
    [
        ("postgres:15", "", ("postgres",)),
        ("tutum/wordpress:latest", "", ("tutum__wordpress", "tutum-wordpress")),
        (
            "registry.example.org:5000/my/img",
            "db",
            ("db", "registry.example.org__my__img", "registry.example.org-my-img"),
        ),
        ("redis@sha256:" + "0" * 64, "a b,c", ("a", "b", "c", "redis")),
        ("redis", "-x", ("redis",)),
    ],
)
def test_names_of_a_service(image: str, alias: str, names: tuple[str, ...]) -> None:
    assert services.aliases_of(Image(image, alias=alias)) == names


def test_ports_are_at_the_jobs_localhost(yard: Yard, talker: str) -> None:
    """The one asked for, and any free one where none was; `job.services` says which."""
    one = Image(talker, alias="one", options={"ports": ["7000:7000"]})
    two = Image(talker, alias="two", command=("7001", "the second"), options={"ports": ["7001"]})
    step = asking(
        "ask 127.0.0.1 7000; ask 127.0.0.1 ${{ job.services.two.ports['7001'] }}; echo \"port ${{ job.services.one.ports['7000'] }}\""
    )
    attempt, log = yard.run(replace(step, templated=True), services=(one, two), network=Network.NONE)
    assert attempt.outcome is Outcome.PASSED, log
    answers = [line for line in log.splitlines() if line.startswith(("hello", "the second", "port "))]
    assert answers == ["hello from ", "the second", "port 7000"], log
    assert ours() == [] and "forwards" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("port", ["x", "5432/udp", "70000", "1:2:3"])
def test_a_port_that_cannot_be_had_ends_the_job(yard: Yard, talker: str, port: str) -> None:
    service = Image(talker, alias="one", options={"ports": [port]})
    attempt, log = yard.run(sh("true"), services=(service,), network=Network.NONE)
    assert attempt.reason is Reason.IMAGE_UNAVAILABLE and "is not a port that can be had" in log
