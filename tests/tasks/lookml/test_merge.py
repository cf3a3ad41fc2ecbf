"""extends and refinements, after the order that Looker's own merge tests expect."""

from __future__ import annotations

import pytest

from runyard.tasks.lookml.language.model import Model, models
from runyard.tasks.lookml.validators.checks import validate

from .conftest import Make


def model_of(make: Make, text: str) -> Model:
    (model,) = models(make({"m.model.lkml": text}))
    return model


@pytest.mark.parametrize(
    ("declarations", "label"),
    [
        ('view: A {label: "A"} view: B {label: "B"} view: r { extends: [A, B] }', "B"),
        ('view: A {label: "A"} view: B {label: "B"} view: r { extends: [B, A] }', "A"),
        ('view: A {} view: B {label: "B"} view: +A {label: "A+"} view: r { extends: [A, B] }', "B"),
        ('view: A {} view: B {label: "B"} view: +A {label: "A+"} view: r { extends: [B, A] }', "A+"),
        ('view: A {label: "A"} view: +r {label: "r+"} view: r { extends: [A] label: "r" }', "r+"),
        ('view: A {label: "A"} view: B {label: "B"} view: r { extends: [B] } view: +r { extends: [A] }', "A"),
        (
            'view: A {label: "A"} view: B {label: "B"} view: r { extends: [B] } view: +r { extends: [A, B] }',
            "B",
        ),
        (
            'view: A {label: "A"} view: B {label: "B"} view: r { extends: [A] } view: +r { extends: [A, B] }',
            "B",
        ),
    ],
)
def test_later_wins(make: Make, declarations: str, label: str) -> None:
    view = model_of(make, declarations).view("r")
    assert view is not None
    assert view.node.text("label") == label


def test_named_children_merge_deeply_and_additive_ones_add(make: Make) -> None:
    view = model_of(
        make,
        'view: a { dimension: x { label: "one" sql: x ;; link: {label: "1"} } }'
        'view: +a { dimension: x { label: "two" link: {label: "2"} } dimension: y { sql: ${EXTENDED} ;; } }'
        "view: +a { dimension: x { sql: f(${EXTENDED}) ;; } }",
    ).view("a")
    assert view is not None
    x = view.fields["x"].node
    assert (x.text("label"), x.text("sql"), len(list(x.all("link")))) == ("two", "f(x)", 2)
    assert list(view.fields) == ["x", "y"]


def test_an_extending_explore_starts_from_its_base_view_and_is_not_required_itself(make: Make) -> None:
    model = model_of(
        make, "view: v {} explore: base { extension: required view_name: v } explore: e { extends: [base] }"
    )
    explore = model.explore("e")
    assert explore is not None
    assert (explore.alias, explore.view_name) == ("v", "v")
    assert [e.name for e in model.all_explores()] == ["e"]


def test_circles_unknown_bases_and_duplicates_are_found(make: Make) -> None:
    project = make(
        {
            "m.model.lkml": 'connection: "c"\nview: a { extends: [b] }\nview: b { extends: [a] }\nview: c { extends: [customer] }\n'
            "view: customers {}\nview: customers {}\nview: +customer {}\n"
        }
    )
    found = {(f.code, f.line, f.suggestion) for f in validate(project)}
    assert found == {
        ("circular_extends", 3, ""),
        ("unknown_extends", 4, "customers"),
        ("duplicate", 6, ""),
        ("unknown_refined", 7, "customers"),
    }


def test_a_long_chain_of_extends_needs_no_stack(make: Make) -> None:
    views = "".join(f"view: v{i} {{ extends: [v{i + 1}] }}\n" for i in range(2_000))
    project = make({"m.model.lkml": f'connection: "c"\n{views}view: v2000 {{}}\n'})
    assert {f.code for f in validate(project)} == {"extends_depth"}


def test_a_diamond_of_extends_is_not_exponential(make: Make) -> None:
    views = "".join(f"view: v{i} {{ extends: [v{i + 1}, v{i + 1}, v{i + 1}] }}\n" for i in range(100))
    project = make({"m.model.lkml": f'connection: "c"\n{views}view: v100 {{ dimension: x {{}} }}\n'})
    assert validate(project) == []
