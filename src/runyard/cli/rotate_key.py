"""`runyard rotate-key`: a new secret key for a stopped server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runyard.model.errors import Conflict, RunyardError


def rotate_key(
    data: Annotated[Path | None, typer.Option(help="The server's data folder")] = None,
    database: Annotated[str | None, typer.Option(help="sqlite:///abs/file or postgresql://…")] = None,
) -> None:
    """Seal all secrets of a stopped server with a new key: passwords, variables, signing keys. Exit 0, or 2
    when nothing was changed."""
    from runyard.app.rotation import rotate
    from runyard.cli.settings import read_settings

    given = {"data": data, "database": database}
    try:
        settings = read_settings(**{k: v for k, v in given.items() if v is not None})
        count, place = rotate(settings)
    except Conflict as error:
        typer.echo(f"runyard: {error.message} Stop it first.", err=True)
        raise typer.Exit(2) from None
    except RunyardError as error:
        typer.echo(f"runyard: {error.message}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{count} secrets sealed with the new key in {place}; older backups need the old one")
    if settings.secret_key:
        typer.echo(
            f"RUNYARD_SECRET_KEY still has the old key: set it to the text of {place}, then delete the file"
        )
