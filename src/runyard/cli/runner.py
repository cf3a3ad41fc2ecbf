"""`runyard runner`: the built-in runner as a process of its own, on this or another machine, over the GitLab
runner API."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runyard.model.errors import RunyardError, Unavailable
from runyard.model.plan import Network

if TYPE_CHECKING:
    from runyard.runner.remote import RemoteLink

FIRST_TRY_S = 2.0


def runner(
    url: Annotated[str, typer.Option(help="Address of the server", envvar="RUNYARD_URL")],
    token: Annotated[str, typer.Option(help="The runner's token (glrt-…)", envvar="RUNYARD_RUNNER_TOKEN")],
    slots: Annotated[int, typer.Option(min=1, max=1000, help="Jobs executed at once")] = 2,
    work: Annotated[Path, typer.Option(help="Folder for job files and caches")] = Path("runyard-runner"),
    cache: Annotated[
        str,
        typer.Option(help="Folder, or s3://bucket/prefix shared with other runners", envvar="RUNYARD_CACHE"),
    ] = "",
    network: Annotated[Network, typer.Option(help="What jobs may reach")] = Network.INTERNET,
    memory_bytes: Annotated[int, typer.Option(help="Memory limit of a job")] = 4 << 30,
    processes: Annotated[int, typer.Option(help="Process limit of a job")] = 4096,
    allow_plain: Annotated[
        bool,
        typer.Option(help="Run jobs unprotected when nothing better works", envvar="RUNYARD_ALLOW_PLAIN"),
    ] = False,
) -> None:
    """Take jobs from a Runyard server and execute them here."""
    from runyard.runner.loop import RunnerLoop
    from runyard.runner.outfit import outfit
    from runyard.runner.remote import RemoteLink
    from runyard.runner.sandbox import Limits
    from runyard.runner.visits import BoxVisits

    try:
        visits = BoxVisits()
        link = RemoteLink(url, token, work.absolute() / "spool", visits)
        _greet(link)
        limits = Limits(memory_bytes, processes)
        means = outfit(
            link, work.absolute(), limits, network, allow_plain=allow_plain, cache=cache, visits=visits
        )
    except RunyardError as error:
        typer.echo(f"runyard runner: {error.message}", err=True)
        raise typer.Exit(2) from None
    for line in means.notes():
        typer.echo(line, err=True)
    loop = RunnerLoop(means, slots)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    loop.start()
    typer.echo(f"runyard runner ready: {slots} slots for {url}")
    ended.wait()
    loop.stop(grace_s=10.0)


def _greet(link: RemoteLink) -> None:
    """The server may start later than this, as after a power cut; who waits for it is told so."""
    try:
        link.verify(patience_s=FIRST_TRY_S)
    except Unavailable as error:
        typer.echo(f"runyard runner: {error.message}; asking again for three minutes", err=True)
        link.verify()
