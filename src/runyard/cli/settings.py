"""`runyard settings`: what every setting is, means and is called; docs/settings.md is this with defaults."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from runyard.app.local_settings import LocalSettings
from runyard.model.errors import Invalid
from runyard.settings import SECRETS, Settings


def read_settings(**given: Any) -> Settings:
    """From flags, environment and file, for every verb. Invalid names the setting; a value is not repeated,
    it may be a secret."""
    try:
        return Settings(**given)
    except ValidationError as error:
        told = [
            f"{name} (RUNYARD_{name.upper()}, or in runyard.toml): {one['msg']}"
            for one in error.errors(include_input=False)
            for name in [str(one["loc"][0])]
        ]
        raise Invalid(f"These settings make no sense: {'; '.join(told)}.") from None
    except (OSError, ValueError) as error:  # a *_FILE that is not there, a runyard.toml that is no TOML
        raise Invalid(f"The settings cannot be read: {error}") from None


def settings(
    output: Annotated[
        Literal["table", "json", "markdown"], typer.Option(help="table, json or markdown (defaults only)")
    ] = "table",
) -> None:
    """Print every setting, its value and what it means."""
    if output == "markdown":
        typer.echo(markdown(), nl=False)
        return
    try:
        found = read_settings()
    except Invalid as error:
        typer.echo(f"runyard: {error.message}", err=True)
        raise typer.Exit(2) from None
    values = {k: "(set)" if k in SECRETS and v else v for k, v in found.model_dump(mode="json").items()}
    if output == "json":
        typer.echo(json.dumps(values, indent=2))
        return
    for name, field in Settings.model_fields.items():
        typer.echo(f"RUNYARD_{name.upper()} = {values[name]}\n    {field.description}")


def markdown() -> str:
    """docs/settings.md, made from the settings themselves."""
    rows = [
        f"| `RUNYARD_{name.upper()}` | `{field.default}` | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    local = ", ".join(f"`{one.name}`" for one in fields(LocalSettings))
    head = (
        "# Settings\n\nMade by `runyard settings --output markdown`. From the environment, or without the prefix and in lower case from `runyard.toml`;\n"
        "secrets may also come from a file named by `RUNYARD_<NAME>_FILE`.\n\n"
        f"`runyard run` knows {local}. It takes them from the environment or from the user's own `~/.config/runyard/runyard.toml`, never\n"
        "from a `runyard.toml` in the working copy, which may be a stranger's. Its `runner_slots` is 0 unless told: two more than processors.\n\n| variable | default | meaning |\n|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"
