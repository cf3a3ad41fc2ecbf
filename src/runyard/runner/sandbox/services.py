"""Services of a job: images that run beside it, on its network, under their names. Called by `job.py` around
the job's own box.

A service is a box of its own on its image's files, with the walls and limits of a job, so nothing of it
outlives the runner. The job and its services share one link layer: a bridge in the job's network namespace, a
pair of virtual cables to each service, and slirp4netns as the way out for all of them. Nothing of the host's
network changes, and what the job may not reach they may not reach either.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runyard.model.plan import Image, Network
from runyard.runner.sandbox.box import Beside, Box, BoxPlan, ImageUnavailable, Process, RootFs, Sandbox
from runyard.runner.sandbox.bubblewrap import BubblewrapSandbox
from runyard.runner.sandbox.container import Images
from runyard.runner.sandbox.forwards import CLONE_NEWNET, Forward, Forwards
from runyard.runner.sandbox.health import Health
from runyard.runner.sandbox.spawner import LauncherGone, SpawnFailed
from runyard.syntax.containers import Container

IP_S, END_S = 60, 10
READY_S = 30.0  # gitlab-runner's wait_for_services_timeout
KEPT_BYTES = 8 << 10  # of what a service says, for the case that it does not listen
MOST = 48
FIRST_SLOT = (
    1001  # beyond all slots of jobs (at most 1,000), so that services have users and folders of their own
)
NET, JOB, GATEWAY, FIRST = "10.0.2", "10.0.2.100", "10.0.2.2", 110
MTU = "65520"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CABLES = itertools.count(1)
_ALIAS = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})")


@dataclass(frozen=True, slots=True)
class Asked:
    """What `up` needs of a job, with one of `containers` for each of `services`. `env` reaches every service,
    a service's own variables come over it. `say` writes into the job's log, `overhear` takes each line of the
    services, from threads of theirs."""

    slot: int
    services: Sequence[Image]
    containers: Sequence[Container]
    network: Network
    env: Mapping[str, str]
    say: Callable[[str], None]
    overhear: Callable[[str], None] | None = None


def aliases_of(image: Image) -> tuple[str, ...]:
    """The names of a service: its own, then the two that its image gives (`a/b/c:1` → a__b__c, a-b-c; a port
    of the registry is left out)."""
    path = re.sub(r":[0-9]+/", "/", image.name.partition("@")[0])
    path = path if ":" not in path.rpartition("/")[2] else path.rpartition(":")[0]
    given = re.split(r"[\s,]+", image.alias.strip()) if image.alias.strip() else []
    names = dict.fromkeys([*given, path.replace("/", "__"), path.replace("/", "-")])
    return tuple(name for name in names if _ALIAS.fullmatch(name))


@contextlib.contextmanager
def up(sandbox: Sandbox, images: Images, asked: Asked) -> Iterator[Beside | None]:
    """Services run while the job does. ImageUnavailable when one cannot even be started; one that never
    listens is a warning, as in gitlab-runner."""
    if not asked.services:
        yield None
        return
    if not isinstance(sandbox, BubblewrapSandbox) or os.geteuid() != 0 or not shutil.which("nsenter"):
        raise ImageUnavailable(
            "services need a runner that is root and has bubblewrap, iproute2 and util-linux"
        )
    if len(asked.services) > MOST:
        raise ImageUnavailable(f"a job may have at most {MOST} services")
    with contextlib.ExitStack() as stack:
        roots = []
        for image in asked.services:
            asked.say(f"Starting service {image.name}...")
            root = stack.enter_context(images.root(image))
            assert root is not None  # noqa: S101 - only without an image
            roots.append(root)
        group = _Group(sandbox, asked)
        stack.callback(group.stop)
        try:
            beside = group.start(roots)
        except (LauncherGone, SpawnFailed, OSError) as error:
            raise ImageUnavailable(f"the services could not be started: {error}") from error
        yield beside


class _Companion:
    """One that runs."""

    def __init__(
        self, image: Image, root: RootFs, host: str, box: Box, overhear: Callable[[str], None] | None
    ) -> None:
        self.image = image
        self._overhear = overhear
        self.root = root
        self.host = host
        self.box = box
        self.process: Process | None = None
        self.env: dict[str, str] = {}
        self._said = b""

    def run(self, shared: Mapping[str, str]) -> None:
        """Entry point and command, as a container engine puts them together."""
        image, root = self.image, self.root
        command = root.command if image.command is None else image.command
        if image.command is None and image.entrypoint is not None:
            command = ()  # an entry point of the job's own replaces the image's command too
        argv = [*root.entrypoint, *command]
        if not argv:
            raise ImageUnavailable(f"the service {image.name} has no command; give it one with `command:`")
        self.env = {"PATH": DEFAULT_PATH, "HOME": self.box.inside.home, **root.env, **shared, **image.env}
        self.process = self.box.run(argv, self.env, root.cwd or "/")
        threading.Thread(
            target=self._listen, args=(self.process.output,), name="service", daemon=True
        ).start()

    def _listen(self, output: int) -> None:
        begun = b""
        with os.fdopen(output, "rb", buffering=0) as pipe:
            while piece := pipe.read(1 << 16):
                self._said = (self._said + piece)[-KEPT_BYTES:]
                *lines, begun = (begun + piece).split(b"\n")
                self._pass_on(lines)
                begun = begun[-KEPT_BYTES:]
        self._pass_on([begun] if begun else [])

    def _pass_on(self, lines: Sequence[bytes]) -> None:
        """As gitlab-runner does with CI_DEBUG_SERVICES: each line under the names of its service."""
        overhear = self._overhear
        if overhear is None:
            return
        name = "-".join(reversed(aliases_of(self.image)))
        for line in lines:
            text = line[:KEPT_BYTES].decode("utf-8", "replace").rstrip("\r")
            overhear(f"[service:{name}] {text}")

    @property
    def listens_on(self) -> tuple[int, ...]:
        """TCP ports: those that the job asks for, else those that the image names."""
        asked = [_forward(str(text), "").inner for text in self.image.options.get("ports") or ()]
        return (*asked, *self.root.ports)

    @property
    def said(self) -> str:
        """The end of what it printed."""
        return self._said.decode("utf-8", "replace").rstrip()

    @property
    def has_ended(self) -> bool:
        """Then it will never listen."""
        return self.process is None or self.process.wait(0) is not None


class _Group:
    """The services of one job."""

    def __init__(self, sandbox: BubblewrapSandbox, asked: Asked) -> None:
        self._sandbox = sandbox
        self._outside = sandbox.outside
        self._asked = asked
        self._shared = asked.network is Network.HOST
        self._name = f"slot{asked.slot}-services"
        self._names: list[str] = []
        self._services: list[_Companion] = []
        self._forwards: Forwards | None = None

    def start(self, roots: Sequence[RootFs]) -> Beside:
        """Network, boxes, processes, and a while for them to listen."""
        asked = self._asked
        addresses = ["127.0.0.1" if self._shared else f"{NET}.{FIRST + n}" for n in range(len(roots))]
        hosts = {} if self._shared else {"build": JOB}
        for image, address in zip(reversed(asked.services), reversed(addresses), strict=True):
            hosts |= dict.fromkeys(aliases_of(image), address)
        names = [""] * len(roots) if self._shared else self._connect(addresses)
        parts = zip(asked.services, asked.containers, roots, strict=True)
        for number, (image, container, found) in enumerate(parts):
            slot = FIRST_SLOT + (asked.slot - 1) * MOST + number
            root = replace(found, cwd=container.cwd or found.cwd)
            beside = Beside(names[number], hosts)
            plan = BoxPlan(slot, "service", asked.network, (), root, beside, container=container)
            box = self._sandbox.open(plan)
            service = _Companion(image, root, addresses[number], box, asked.overhear)
            self._services.append(service)
            service.run(asked.env)
        self._wait()
        return Beside("" if self._shared else self._name, hosts, self._published(addresses))

    def _published(self, addresses: Sequence[str]) -> dict[str, dict[str, str]]:
        """The ports that the job asked for at its own localhost. On the host's network services are there
        already."""
        wanted: list[tuple[str, Forward]] = []
        for image, address in zip(self._asked.services, addresses, strict=True):
            for text in image.options.get("ports") or ():
                forward = _forward(str(text), address)
                wanted.append((aliases_of(image)[0], forward))
        found: dict[str, dict[str, str]] = {}
        if not wanted:
            return found
        if self._shared:
            ports = [forward.inner for _, forward in wanted]
        else:
            path = self._outside.apart(self._name, way_out=False)
            self._forwards = Forwards(path, [forward for _, forward in wanted]).open()
            ports = self._forwards.ports or [0] * len(wanted)
        for (name, forward), port in zip(wanted, ports, strict=True):
            if port == 0:
                raise ImageUnavailable(f"the port {forward.port} of the service {name} is taken in this job")
            found.setdefault(name, {})[forward.name] = str(port)
        return found

    def _connect(self, addresses: Sequence[str]) -> list[str]:
        """The job's namespace with a bridge, one namespace per service, a cable each; answers the services'
        namespaces by name."""
        leads_out = self._asked.network is Network.INTERNET and self._outside.leads_out
        home = self._outside.apart(self._name, way_out=leads_out)
        lines = ["link add br0 type bridge", "link set lo up", f"link set br0 mtu {MTU} up"]
        lines += ["addr flush dev tap0", "link set tap0 master br0"] if leads_out else []
        lines += [f"addr add {JOB}/24 dev br0", f"route replace default via {GATEWAY} dev br0"]
        _ip(
            home, lines, forgiving=True
        )  # the namespace is the slot's: most of it may be there from an earlier job
        for number, address in enumerate(addresses):
            name = f"{self._name}-{number}"
            path = self._outside.apart(name, way_out=False)
            self._names.append(name)
            cable = f"svc{next(_CABLES)}"  # a name of its own: the last job's may take a moment to go
            ends = f"{cable} mtu {MTU} type veth peer name eth0 mtu {MTU} netns {path}"
            _ip(home, [f"link add {ends}", f"link set {cable} master br0 up"])
            up = ["link set lo up", "link set eth0 up"]
            _ip(path, [*up, f"addr add {address}/24 dev eth0", f"route add default via {GATEWAY}"])
        return self._names

    def _wait(self) -> None:
        """Until every service with a health command is well, and every other of which a port is known
        listens. Who is ill ends the job, as at GitHub; who does not listen is shown with what it said."""
        checked = [(service, health) for service in self._services if (health := Health.of(service.image))]
        well = {service for service, _ in checked}
        waiting = [service for service in self._services if service.listens_on and service not in well]
        if not waiting and not checked:
            return
        self._asked.say("Waiting for services to be up and running...")
        for service, health in checked:
            if not health.waits_for(service.box, service.env, service.root.cwd or "/"):
                name = aliases_of(service.image)[0]
                self._asked.say(f"{service.said}\n*********")
                raise ImageUnavailable(
                    f"Failed to initialize, {name} service is unhealthy: `{health.command[:200]}` did not succeed"
                )
        if not waiting:
            return
        watcher = threading.Thread(target=self._knock, args=(waiting,), name="services", daemon=True)
        watcher.start()
        watcher.join()
        for service in waiting:
            told = f"*** WARNING: Service {service.image.name} probably didn't start properly."
            self._asked.say(f"{told}\n{service.said}\n*********")

    def _knock(self, waiting: list[_Companion]) -> None:
        """In a thread of its own, because it enters the job's network namespace and never comes back."""
        until = time.monotonic() + READY_S
        if not self._shared:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path(self._outside.apart(self._name, way_out=False)).open("rb") as namespace:
                if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    return
        while time.monotonic() < until:
            for service in list(waiting):
                with (
                    contextlib.suppress(OSError),
                    socket.create_connection((service.host, service.listens_on[0]), 1),
                ):
                    waiting.remove(service)
            if all(service.has_ended for service in waiting):
                return
            time.sleep(0.05)

    def stop(self) -> None:
        """Processes, folders, namespaces."""
        if self._forwards is not None:
            self._forwards.close()
        for service in self._services:
            with contextlib.suppress(LauncherGone, SpawnFailed):
                service.box.close()
        for name in self._names:
            with contextlib.suppress(LauncherGone, SpawnFailed):
                self._outside.forget(name)


def _forward(text: str, address: str) -> Forward:
    """`5432`, `5432:5432`, `5432/tcp`. ImageUnavailable for others, udp too."""
    port, _, kind = text.strip().partition("/")
    outer, _, inner = port.rpartition(":")
    numbers = [int(part) for part in (outer or "0", inner) if part.isdigit() and int(part) < 65536]
    if len(numbers) != 2 or kind not in ("", "tcp") or not numbers[1]:
        raise ImageUnavailable(
            f"{text[:80]!r} is not a port that can be had here; ports are PORT or HOST:PORT of tcp"
        )
    return Forward(numbers[0], address, numbers[1], inner)


def _ip(namespace: str, lines: Sequence[str], *, forgiving: bool = False) -> None:
    """iproute2's commands inside a namespace, in one process."""
    force = ["-force"] if forgiving else []
    done = subprocess.run(
        ["nsenter", f"--net={namespace}", "ip", *force, "-batch", "-"], input="\n".join(lines).encode() + b"\n", capture_output=True, timeout=IP_S, check=False,
    )  # fmt: skip
    if done.returncode != 0 and not forgiving:
        raise OSError(done.stderr.decode(errors="replace").strip()[-300:])
