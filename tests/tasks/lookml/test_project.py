"""Files of a project: includes, constants, links, visibility per model."""

from __future__ import annotations

from pathlib import Path

from runyard.tasks.lookml.language.model import models
from runyard.tasks.lookml.language.project import load

from .conftest import Make, places


def scope(make: Make, include: str, extra: dict[str, str] | None = None) -> list[str]:
    files = {
        "models/m.model.lkml": f'include: "{include}"',
        "views/a.view.lkml": "view: a {}",
        "views/deep/b.view.lkml": "view: b {}",
        "models/near.view.lkml": "view: near {}",
        "other.lkml": "view: other {}",
        "imported_projects/lib/x.view.lkml": 'include: "/y.view"',
        "imported_projects/lib/y.view.lkml": "view: y {}",
        **(extra or {}),
    }
    files_seen, _ = make(files).scope("models/m.model.lkml")
    return files_seen[:-1]


def test_include_forms(make: Make) -> None:
    assert scope(make, "/views/a.view.lkml") == ["views/a.view.lkml"]
    assert scope(make, "/views/a.view") == ["views/a.view.lkml"]
    assert scope(make, "/views/*") == ["views/a.view.lkml"]
    assert scope(make, "/**/*.view") == [
        "imported_projects/lib/y.view.lkml",
        "imported_projects/lib/x.view.lkml",
        "models/near.view.lkml",
        "views/a.view.lkml",
        "views/deep/b.view.lkml",
    ]
    assert scope(make, "near.view") == ["models/near.view.lkml"]
    assert scope(make, "../other") == ["other.lkml"]
    # Inside an imported project "/" is that project's own root.
    assert scope(make, "//lib/x.view") == [
        "imported_projects/lib/y.view.lkml",
        "imported_projects/lib/x.view.lkml",
    ]


def test_includes_that_name_nothing_are_found_with_a_suggestion(make: Make) -> None:
    project = make(
        {
            "m.model.lkml": '\ninclude: "/ordrs.view"\ninclude: "../../etc/passwd"\ninclude: "//lib/*"',
            "orders.view.lkml": "view: orders {}",
        }
    )
    _, findings = project.scope("m.model.lkml")
    assert places(findings) == [("include", "m.model.lkml", n, 1) for n in (2, 3, 4)]
    assert findings[0].suggestion == "orders.view"
    assert "leaves the project" in findings[1].message
    assert 'project "lib"' in findings[2].message


def test_circular_includes_end(make: Make) -> None:
    project = make({"m.model.lkml": 'include: "a"', "a.lkml": 'include: "b"', "b.lkml": 'include: "a"'})
    assert project.scope("m.model.lkml")[0] == ["b.lkml", "a.lkml", "m.model.lkml"]


def test_a_chain_of_ten_thousand_includes_needs_no_stack(make: Make) -> None:
    files = {f"f{i}.lkml": f'include: "f{i + 1}"' for i in range(3_000)}
    project = make({"m.model.lkml": 'include: "f0"', **files, "f3000.lkml": "view: z {}"})
    assert len(project.scope("m.model.lkml")[0]) == 3_002


def test_what_a_model_does_not_include_it_does_not_see(make: Make) -> None:
    project = make(
        {"m.model.lkml": 'include: "a.view"', "a.view.lkml": "view: a {}", "b.view.lkml": "view: b {}"}
    )
    (model,) = models(project)
    assert model.view("a") is not None
    assert model.view("b") is None


def test_constants_are_put_in_and_unknown_ones_located(make: Make) -> None:
    project = make(
        {
            "manifest.lkml": 'constant: SCHEMA { value: "prod" }',
            "a.view.lkml": 'view: a {\n  sql_table_name: @{SCHEMA}.orders ;;\n  label: "@{SCHEME}"\n}',
        }
    )
    assert project.trees["a.view.lkml"].children[0].text("sql_table_name") == "prod.orders"
    assert places(project.findings) == [("unknown_constant", "a.view.lkml", 3, 11)]
    assert project.findings[0].suggestion == "SCHEMA"


def test_links_that_lead_out_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.view.lkml"
    secret.write_text("view: secret {}")
    root = tmp_path / "project"
    root.mkdir()
    (root / "a.view.lkml").symlink_to(secret)
    (root / "m.model.lkml").write_bytes(b"\xff\xfe view")
    project = load(root)
    assert [tree.children for tree in project.trees.values()] == [[]]
    assert [f.code for f in project.findings] == ["unreadable", "unreadable"]
