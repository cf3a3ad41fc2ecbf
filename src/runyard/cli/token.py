"""`runyard token`: makes an access token straight in the data folder's database, for the person who owns the
machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runyard.model.errors import Conflict, RunyardError


def token(
    username: Annotated[str, typer.Argument(help="User to make the token for; made when new")],
    data: Annotated[Path | None, typer.Option(help="The server's data folder")] = None,
    name: Annotated[str, typer.Option(help="What the token is for")] = "command line",
    days: Annotated[int, typer.Option(help="Days it lives; 0 for ever")] = 365,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="End all tokens and sessions of the user instead")
    ] = False,
    api3: Annotated[
        bool, typer.Option("--api3", help="Make a client id and secret for Looker's clients instead")
    ] = False,
) -> None:
    """Make an access token for a user; prints it once, only its hash is kept. Or end all that the user
    has."""
    from runyard.app.first_start import make_client, make_token, revoke_tokens
    from runyard.cli.settings import read_settings

    try:
        settings = read_settings(data=data) if data else read_settings()
        if revoke:
            typer.echo(f"{revoke_tokens(settings, username)} tokens and sessions of {username} ended")
        elif api3:
            client_id, secret = make_client(settings, username)
            typer.echo(f"LOOKERSDK_CLIENT_ID={client_id}\nLOOKERSDK_CLIENT_SECRET={secret}")
        else:
            typer.echo(make_token(settings, username, name, days))
    except Conflict as error:
        hint = " Stop it first: with SQLite, tokens are made and ended while nobody serves the folder."
        typer.echo(f"runyard: {error.message}{hint}", err=True)
        raise typer.Exit(2) from None
    except RunyardError as error:
        typer.echo(f"runyard: {error.message}", err=True)
        raise typer.Exit(2) from None
