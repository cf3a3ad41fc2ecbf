"""The settings of `runyard run`: the server's names and defaults, the environment over the user's own file,
nothing from a working copy."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from runyard.app.local_settings import LocalSettings
from runyard.model.errors import Invalid
from runyard.settings import Settings


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for one in fields(LocalSettings):
        monkeypatch.delenv(f"RUNYARD_{one.name.upper()}", raising=False)
    (tmp_path / "runyard").mkdir()
    return tmp_path / "runyard/runyard.toml"


def test_names_and_defaults_are_those_of_the_server(file: Path) -> None:
    known = {name: field.default for name, field in Settings.model_fields.items()}
    own = {one.name: one.default for one in fields(LocalSettings)}
    assert own.pop("runner_slots") == 0 and LocalSettings().slots >= 2
    assert own.items() <= known.items()
    assert LocalSettings.read() == LocalSettings()


def test_the_environment_stands_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('network = "none"\njob_cpus = 1.5\nlisten = "a server\'s"\n[actions]\nbuiltin = false\n')
    assert LocalSettings.read() == LocalSettings(network="none", job_cpus=1.5, actions_builtin=False)
    monkeypatch.setenv("RUNYARD_NETWORK", "host")
    monkeypatch.setenv("RUNYARD_ACTIONS_BUILTIN", "Yes")
    monkeypatch.setenv("RUNYARD_RUNNER_SLOTS", "7")
    assert LocalSettings.read() == LocalSettings(network="host", job_cpus=1.5, runner_slots=7)
    assert LocalSettings.read().slots == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("job_cpus = true", "job_cpus takes a number"),
        ("job_processes = -1", "job_processes takes a whole number"),
        ("job_processes = 1.5", "job_processes takes a whole number"),
        ("job_processes = 99999999999999999999", "job_processes takes a whole number"),
        ("allow_plain = 'maybe'", "allow_plain takes true or false"),
        ("actions_url = []", "actions_url takes text"),
        ("network = 'all'", "network is one of"),
        ("network = ", "runyard.toml cannot be read"),
    ],
)
def test_what_makes_no_sense_is_named(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(Invalid, match=said):
        LocalSettings.read()
