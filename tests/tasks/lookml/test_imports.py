"""Imported projects, their constants, and the cache: what is kept, and that what is kept is never wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from runyard.tasks.lookml.language import parser, project
from runyard.tasks.lookml.language.cache import NAME, Cache
from runyard.tasks.lookml.language.model import models
from runyard.tasks.lookml.language.project import Project, from_texts, load
from runyard.tasks.lookml.validators.checks import validate

OWN = {
    "manifest.lkml": 'project_name: "own"\nremote_dependency: shared {\n  url: "https://example.org/shared.git"\n  ref: "v1"\n'
    '  override_constant: SCHEMA { value: "prod" }\n}\n',
    "m.model.lkml": 'connection: "c"\ninclude: "//shared/views/*.view"\ninclude: "a.view"\nexplore: a { join: b { sql_on: ${a.id} = ${b.id} ;; relationship: one_to_one } }\n',
    "a.view.lkml": "view: a { dimension: id { primary_key: yes } dimension: x { sql: ${b.id} ;; } }\n",
    "d.dashboard.lookml": "- dashboard: d\n",
}
SHARED = {
    "manifest.lkml": 'constant: SCHEMA { value: "dev" export: override_optional }\nconstant: FIXED { value: "f" }\n',
    "views/b.view.lkml": "view: b { sql_table_name: @{SCHEMA}.b_@{FIXED} ;; dimension: id { primary_key: yes } }\n",
}


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def opened(tmp_path: Path, cache: Path | None = None, **changes: str) -> Project:
    own = OWN | {name.replace("__", "."): text for name, text in changes.items()}
    return load(
        written(tmp_path / "own", own),
        imports={"shared": written(tmp_path / "shared", SHARED)},
        cache=Cache(cache),
    )


def test_an_import_stands_where_includes_look_for_it(tmp_path: Path) -> None:
    in_memory = from_texts(
        ((n, t.encode()) for n, t in OWN.items()),
        imports={"shared": [(n, t.encode()) for n, t in SHARED.items()]},
    )
    for found in (opened(tmp_path), in_memory):
        assert validate(found) == []
        (model,) = models(found)
        view = model.view("b")
        assert view is not None
        assert view.node.text("sql_table_name") == "prod.b_f"
        dependency = found.manifest.dependencies["shared"]
        assert (dependency.is_remote, dependency.url, dependency.ref) == (
            True,
            "https://example.org/shared.git",
            "v1",
        )
        assert found.text_of("d.dashboard.lookml") == "- dashboard: d\n"
        assert found.text_of("none.json") is None


@pytest.mark.parametrize(
    ("override", "message"),
    [("FIXED", 'does not export the constant "FIXED"'), ("SCHEMAS", 'has no constant "SCHEMAS"')],
)
def test_only_exported_constants_may_be_overridden(tmp_path: Path, override: str, message: str) -> None:
    manifest = OWN["manifest.lkml"].replace("SCHEMA", override)
    (found,) = [f for f in validate(opened(tmp_path, manifest__lkml=manifest)) if f.code == "constant"]
    assert message in found.message
    assert (found.file, found.line) == ("manifest.lkml", 5)


def test_a_second_run_parses_only_what_changed_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    parsed: list[str] = []

    def noting(file):
        parsed.append(file.path)
        return parser.parse(file)

    monkeypatch.setattr(project, "parse", noting)
    assert validate(opened(tmp_path, cache)) == []
    assert "a.view.lkml" in parsed
    parsed.clear()
    assert validate(opened(tmp_path, cache)) == []
    assert set(parsed) <= {"manifest.lkml", "imported_projects/shared/manifest.lkml"}
    broken = OWN["a.view.lkml"].replace("${b.id}", "${b.idd}")
    kept = validate(opened(tmp_path, cache, a__view__lkml=broken))
    assert [(f.code, f.file, f.line) for f in kept] == [("unknown_field", "a.view.lkml", 1)]
    for other in (None, cache):
        assert validate(opened(tmp_path, other, a__view__lkml=broken)) == kept
    # A field that goes from another file is missed by the file that did not change.
    (tmp_path / "own" / "a.view.lkml").write_text(OWN["a.view.lkml"])
    shared = {"views/b.view.lkml": SHARED["views/b.view.lkml"].replace("dimension: id", "dimension: key")}
    found = load(
        tmp_path / "own", imports={"shared": written(tmp_path / "shared", shared)}, cache=Cache(cache)
    )
    assert {f.file for f in validate(found)} == {"a.view.lkml", "m.model.lkml"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"program": "x"}', '{"outlines": {}, "findings": 3}', "\0" * 100]
)
def test_a_cache_that_cannot_be_read_is_as_if_it_was_not_there(tmp_path: Path, text: str) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / NAME).write_text(text)
    assert validate(opened(tmp_path, cache)) == []
    assert validate(opened(tmp_path, cache)) == []
