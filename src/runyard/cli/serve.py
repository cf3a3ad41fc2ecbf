"""`runyard serve`: settings from flags over environment over file, then app does the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from runyard.model.errors import RunyardError


def serve(
    data: Annotated[
        Path | None, typer.Option(help="Folder of the database, blobs, repositories and the root token")
    ] = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; port 0 picks a free one")] = None,
    database: Annotated[str | None, typer.Option(help="sqlite:///abs/file or postgresql://…")] = None,
    blobs: Annotated[str | None, typer.Option(help="Folder or s3://bucket/prefix")] = None,
    runner_slots: Annotated[
        int | None, typer.Option(help="Jobs the built-in runner executes at once; 0: none")
    ] = None,
    external_url: Annotated[str | None, typer.Option(help="Address clients use, for absolute links")] = None,
) -> None:
    """Serve all four APIs, git and the web page on one port."""
    from runyard.app.serving import serve_forever
    from runyard.cli.settings import read_settings

    given: dict[str, Any] = {
        "data": data,
        "listen": listen,
        "database": database,
        "blobs": blobs,
        "runner_slots": runner_slots,
        "external_url": external_url,
    }
    try:
        serve_forever(read_settings(**{k: v for k, v in given.items() if v is not None}))
    except RunyardError as error:
        typer.echo(f"runyard: {error.message}", err=True)
        raise typer.Exit(2) from None
