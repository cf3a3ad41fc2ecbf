"""Options of `docker create` and volumes, as workflows write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.syntax.containers import CAPABILITIES, OptionError, Tmpfs, Volume, parse, shared


def test_options_as_people_write_them() -> None:
    made = parse(
        "-e A=1 -eB='x y' --env=C=c=d --env GONE -u 1000 --user=app:2 -w/srv --hostname box --add-host db:10.0.0.1 --add-host six=[::1] "
        "--dns 9.9.9.9 --dns-search a.example --dns-opt ndots:2 --cpus 1.5 -m 512m --pids-limit=100 --read-only --group-add audio "
        "--tmpfs /run:size=64m,mode=700,noexec --network-alias pg --platform linux/arm64 --init --label a=b --ulimit nofile=1:2 --entrypoint /x"
    )
    assert made.env == {"A": "1", "B": "x y", "C": "c=d"}
    assert (made.user, made.cwd, made.hostname, made.groups) == ("app:2", "/srv", "box", ["audio"])
    assert made.hosts == [("10.0.0.1", "db"), ("::1", "six")]
    assert made.resolver == ["nameserver 9.9.9.9", "search a.example", "options ndots:2"]
    assert (made.cpus, made.memory_bytes, made.processes, made.read_only) == (1.5, 512 << 20, 100, True)
    assert made.tmpfs == [Tmpfs("/run", 64 << 20, 0o700)]
    assert (made.aliases, made.platform, made.entrypoint) == (["pg"], "linux/arm64", ("/x",))


@pytest.mark.parametrize("user", ["0", "4294967295", "app", "app:staff", "1000:1000", "a.b-c_d$"])
def test_users_are_names_or_numbers(user: str) -> None:
    assert parse(f"--user '{user}' --group-add 65534 --group-add staff").user == user


def test_health_options_are_those_of_the_engine() -> None:
    made = parse(
        '--health-cmd "pg_isready -U a" --health-interval=1m30s --health-timeout 500ms --health-retries 5'
    )
    assert made.health == {
        "command": "pg_isready -U a",
        "interval_s": 90.0,
        "timeout_s": 0.5,
        "retries": 5,
    }


def test_capabilities_are_taken_away_and_given_back() -> None:
    assert parse("").capabilities == CAPABILITIES
    assert parse("--cap-drop ALL --cap-add chown --cap-add CAP_CHOWN").capabilities == ("CAP_CHOWN",)
    assert "CAP_KILL" not in parse("--cap-drop=KILL").capabilities
    assert parse("--cap-add DAC_READ_SEARCH").capabilities == (*CAPABILITIES, "CAP_DAC_READ_SEARCH")


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("/data", Volume("", "/data")),
        ("pg:/var/lib//pg/", Volume("pg", "/var/lib/pg")),
        ("pg:/data:ro,z", Volume("pg", "/data", writable=False)),
        ("/builds/g/app/x:/app", Volume("/builds/g/app/x", "/app")),
    ],
)
def test_volumes(text: str, volume: Volume) -> None:
    assert parse("", [text]).volumes == [volume]
    assert parse(f"-v {text}").volumes == [volume]


def test_mounts_are_volumes_or_memory() -> None:
    made = parse(
        "--mount type=volume,src=pg,dst=/data,readonly --mount type=tmpfs,target=/t,tmpfs-size=1g --mount target=/own"
    )
    assert made.volumes == [Volume("pg", "/data", writable=False), Volume("", "/own")]
    assert made.tmpfs == [Tmpfs("/t", 1 << 30)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--privileged", "'--privileged' is not served: what it gives is more"),
        ("--device /dev/kvm", "what it gives is more"),
        ("--network host", "the network is the job's"),
        ("--env-file x", "nothing of the runner's disk"),
        ("--cap-add ALL", "'ALL' is not served"),
        ("--cap-add NET_ADMIN", "'NET_ADMIN' is not served"),
        ("--wat 1", "'--wat' is not served"),
        ("--user", "'--user' needs a value"),
        ("-v", "'-v' needs a value"),
        ("--add-host 'a b:1.2.3.4'", "a host name"),
        ("--add-host 'a:1.2.3.4\n6.6.6.6 b'", "NAME:ADDRESS"),
        ("--dns-search 'a\nnameserver 1.1.1.1'", "a host name"),
        ("--dns-opt 'a b'", "one like ndots:2"),
        ("--memory lots", "a size like 512m"),
        ("--cpus nan", "a number like 1.5"),
        ("--pids-limit x", "a number"),
        ("--hostname -x", "a host name"),
        ("--user 99999999999", "Unexpected value '99999999999' of --user, expected NAME|UID[:GROUP|GID]"),
        ("--user app:99999999999", "of --user"),
        ("--user a:b:c", "of --user"),
        ("--group-add 99999999999", "of --group-add, expected a group's name or number"),
        ("--tmpfs run", "an absolute path"),
        ("--tmpfs /run:mode=9", "a mode like 1777"),
        ("--tmpfs /proc/sys", "the job's own"),
        ("-v a1:/builds/x", "the job's own"),
        ("-v a1:/", "the job's own"),
        ("-v a1:/x/../proc", "an absolute path"),
        ("-v ./here:/x", "the name of a volume"),
        ("-v /a/../b:/x", "a path without"),
        ("-v a1:/x:exec", "[SOURCE:]TARGET[:ro]"),
        ("--mount type=npipe,target=/x", "type=volume|bind|tmpfs"),
        ("--health-retries 1s", "Unexpected value '1s' of --health-retries"),
        ('"', "quotes do not match"),
    ],
)
def test_what_a_box_cannot_hold_says_why(options: str, said: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse(options)
    assert said in str(caught.value)


def test_a_volume_has_one_place() -> None:
    assert shared([parse("-v a1:/x"), parse("-v a2:/x -v /y -v /z")]) == ""
    assert shared([parse("-v a1:/x"), parse("-v a1:/x")]) == "a1" == shared([parse("-v a1:/x -v a1:/y")])


@given(st.lists(st.sampled_from(["-v", "--mount", "--tmpfs", "-e", "--dns", ":", "a:/b", "=", "'", "--cap-add", "x"]) | st.text(max_size=8)))  # fmt: skip
def test_any_text_is_read_or_refused(words: list[str]) -> None:
    try:
        made = parse(" ".join(words), words)
    except OptionError:
        return
    for place in [v.target for v in made.volumes] + [t.target for t in made.tmpfs]:
        assert place.startswith("/") and ".." not in place.split("/") and place != "/"
