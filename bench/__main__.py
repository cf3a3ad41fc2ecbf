"""`python -m bench [NAME…]`: prints the figures, ours beside the floor of the same run; exit 1 when one
misses its limit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

from bench import figures
from bench.figures import Figure
from bench.live import Live, server


def datadiff(live: Live) -> Sequence[Figure]:
    """A million rows a side."""
    from bench.datadiff import in_duckdb

    return in_duckdb(1_000_000)


def lists(live: Live) -> Sequence[Figure]:
    """A million jobs, in a server of their own."""
    from bench import gitlab_lists

    return gitlab_lists.lists()


def lookml(_live: Live) -> Sequence[Figure]:
    """Parsing, checking and binding a generated project."""
    from bench.lookml import figures as of_lookml

    return list(of_lookml())


def fleet_artifacts(live: Live) -> Sequence[Figure]:
    """The runner protocol: 1 GiB up and down."""
    from bench.fleet import fleet_artifacts as figures_of

    return figures_of(live)


def fleet_logs(live: Live) -> Sequence[Figure]:
    """The runner protocol: log by PATCH."""
    from bench.fleet import fleet_logs as figures_of

    return figures_of(live)


def fleet_claims(live: Live) -> Sequence[Figure]:
    """The runner protocol: a claim with a long queue."""
    from bench.fleet import fleet_claims as figures_of

    return figures_of(live)


def localrun(live: Live) -> Sequence[Figure]:
    """`runyard run` beside gitlab-ci-local."""
    from bench.localrun import localrun as figures_of

    return figures_of(live)


def actrun(live: Live) -> Sequence[Figure]:
    """`runyard run` beside act."""
    from bench.actrun import actrun as figures_of

    return figures_of(live)


def workflow_parse(live: Live) -> Sequence[Figure]:
    """A thousand workflow files beside npm @actions/workflow-parser."""
    from bench.workflow_parse import workflow_parse as figures_of

    return figures_of(live)


def gitlab_compile(_live: Live) -> Sequence[Figure]:
    """2,000 jobs, beside gitlab-ci-local."""
    from bench.gitlab_compile import compile_figures

    return compile_figures()


def settle(_live: Live) -> Sequence[Figure]:
    """One end while thousands wait."""
    from bench.settle import settle as figures_of

    return figures_of()


def verbs(_live: Live) -> Iterable[Figure]:
    """Verbs on whole runs, per job, with few jobs and many."""
    from bench.verbs import verbs as figures_of

    return figures_of()


def depot_api(live: Live) -> Sequence[Figure]:
    """Depot's API: a status, a followed log."""
    from bench.depot_api import depot_api as figures_of

    return figures_of(live)


SUITES: dict[str, Callable[[Live], Figure | Iterable[Figure]]] = {
    "start": figures.start,
    "gitlab_compile": gitlab_compile,
    "settle": settle,
    "verbs": verbs,
    "noop": figures.noop,
    "hundred": figures.hundred,
    "chain": figures.chain,
    "log": figures.log,
    "artifact": lambda live: figures.artifacts(live, "one file of 500 MB", figures.ONE_FILE),
    "datadiff": datadiff,
    "depot_api": depot_api,
    "fleet_artifacts": fleet_artifacts,
    "fleet_logs": fleet_logs,
    "fleet_claims": fleet_claims,
    "localrun": localrun,
    "actrun": actrun,
    "workflow_parse": workflow_parse,
    "lookml": lookml,
    "lists": lists,
    "artifacts": lambda live: figures.artifacts(live, "10,000 small files", figures.MANY_FILES),
}


def main(names: list[str]) -> int:
    missed = 0
    print(f"{'figure':<58}{'ours':>12}  {'floor':<34}{'ratio':>7}  limit")
    with server(4, RUNYARD_LOG_LIMIT_BYTES=str(1 << 30)) as live:
        for name, suite in SUITES.items():
            if names and not any(name == asked or name.startswith(f"{asked}_") for asked in names):
                continue
            found = suite(live)
            for figure in [found] if isinstance(found, Figure) else found:
                missed += not figure.holds
                sign = "≥" if figure.higher else "≤"
                mark = "" if figure.holds else "  MISSED"
                print(
                    f"{figure.name:<58}{figure.ours:>12}  {figure.floor:<34}{figure.ratio:>7.2f}  {sign} {figure.limit:g}{mark}",
                    flush=True,
                )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
