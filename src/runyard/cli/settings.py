"""`runyard settings`: what every setting is, means and is called; docs/settings.md is this with defaults."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from runyard.settings import SECRETS, Settings


def settings(
    output: Annotated[str, typer.Option(help="table, json or markdown (defaults only)")] = "table",
) -> None:
    """Print every setting, its value and what it means."""
    if output == "markdown":
        typer.echo(markdown(), nl=False)
        return
    values = {k: "(set)" if k in SECRETS and v else v for k, v in Settings().model_dump(mode="json").items()}
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
    head = (
        "# Settings\n\nMade by `runyard settings --output markdown`. From the environment, or without the prefix and in lower case from `runyard.toml`;\n"
        "secrets may also come from a file named by `RUNYARD_<NAME>_FILE`.\n\n| variable | default | meaning |\n|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"
