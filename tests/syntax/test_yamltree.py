"""The YAML reader: schema, marks, budgets, and never anything but YamlError."""

import gc
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.syntax import yamltree
from runyard.syntax.yamltree import Limits, Mapping, Scalar, Tagged, YamlError, load, load_all, to_plain, walk


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("yes", "yes"), ("no", "no"), ("012", "012"), ("1:30", "1:30"), ("2020-01-01", "2020-01-01"),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("'true'", "true"), ('"1"', "1"),
        ("12", 12), ("-3", -3), ("0x1F", 31), ("0o17", 15), ("1.50", 1.5), (".5", 0.5), ("1e3", 1000.0), ("1e999", "1e999"),
        (".nan", ".nan"), (".inf", ".inf"), ("9" * 18, int("9" * 18)), ("9" * 19, "9" * 19), ("9" * 5000, "9" * 5000),
        ("-", None), ("1_000", "1_000"), ("0", 0), ("007", "007"), ("+1", 1), ("1.2.3", "1.2.3"),
    ],
)  # fmt: skip
def test_plain_scalars_follow_the_core_schema_and_lose_no_text(text: str, value: object) -> None:
    if text == "-":
        value = [None]
    assert to_plain(load(f"v: {text}" if text != "-" else "-")) in ({"v": value}, value)


def test_text_is_kept_beside_the_value() -> None:
    node = load("v: 1.50")
    assert isinstance(node, Mapping)
    scalar = node.get("v")
    assert isinstance(scalar, Scalar)
    assert (scalar.value, scalar.text, scalar.plain) == (1.5, "1.50", True)


def test_marks_name_file_line_and_column() -> None:
    node = load("a:\n  - x\n  - {b: c}\n", "ci.yml")
    marks = [str(one.at) for one in walk(node)]
    assert marks == ["ci.yml:1:1", "ci.yml:2:3", "ci.yml:2:5", "ci.yml:3:5", "ci.yml:3:9"]
    assert isinstance(node, Mapping)
    assert node.key_at("a") == (1, 1, "ci.yml")


def test_merge_keys_and_aliases_resolve_and_own_keys_win() -> None:
    text = """
a: &a {x: 1, y: 1}
b: &b {y: 2, z: 2}
list: {<<: [*a, *b], z: 3}
two:
  <<: *a
  <<: *b
own: {x: 9, <<: *a}
"""
    tree = to_plain(load(text))
    assert isinstance(tree, dict)
    assert tree["list"] == {"x": 1, "y": 1, "z": 3}
    assert tree["two"] == {"x": 1, "y": 2, "z": 2}
    assert tree["own"] == {"x": 9, "y": 1}


def test_quoted_merge_key_is_an_ordinary_key() -> None:
    assert to_plain(load('"<<": {a: 1}')) == {"<<": {"a": 1}}


def test_allowed_tags_become_nodes_and_all_others_are_refused() -> None:
    limits = Limits(tags=frozenset({"!reference"}))
    node = load("a: !reference [x, y]", limits=limits)
    assert isinstance(node, Mapping)
    tagged = node.get("a")
    assert isinstance(tagged, Tagged)
    assert to_plain(tagged.value) == ["x", "y"]
    with pytest.raises(YamlError, match="not allowed here"):
        to_plain(node)
    for tag in ("!!python/object/apply:os.system", "!other", "!!timestamp", "!!set"):
        with pytest.raises(YamlError, match="unknown tag"):
            load(f"a: {tag} x", limits=limits)
    assert to_plain(load("a: ! 12")) == {"a": "12"}
    assert to_plain(load("a: !!str 12")) == {"a": "12"}


BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)
MERGE_BOMB = "x0: &x0 {a: 1}\n" + "".join(
    f"x{i}: &x{i} {{<<: [*x{i - 1}, *x{i - 1}]}}\n" for i in range(1, 28)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 200))


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("[" * 100_000, "nested deeper than 64", 1),
        ("- " * 100_000, "nested deeper than 64", 1),
        ("{a: " * 100_000, "nested deeper than 64", 1),
        ("? " * 100_000, "key must be a scalar", 1),
        (CHAIN, "nested deeper than 64", 64),
        (BOMB, "more than 100000 nodes", 5),
        (MERGE_BOMB, "more than 100000 nodes", 15),
        ("[" + "1," * 400_000 + "]", "more than 100000 nodes", 1),
        ("\n".join(f"k{i}: &a{i} x" for i in range(20_000)), "more than 1000 anchors", 1001),
        ("x: 1\na: &a [*a]", "contains itself", 2),
        ("a: *b", "unknown alias", 1),
        ("a:\n\tb: 1", "tab", 2),
        ("a: 1\nb: 2\na: 3", "duplicate key 'a': it is on line 1", 3),
        ("a: {b: 1, b: 2}", "duplicate key 'b'", 1),
        ("1: a\n'1': b", "duplicate key '1'", 2),
        ("ok: 1\na: \x00", "U\\+0000", 2),
        ('ok: 1\na: "x\\0"', "U\\+0000", 2),
        ('a: "\\uD800"', "invalid Unicode", 1),
        ("a: \udc80", "U\\+DC80", 1),
        ("a: b: c", "mapping values are not allowed", 1),
        ("ok: 1\na: 'x\nb: 1\n", "never closed", 2),
        ("a: 1\n---\nb: 2", "more than 1 YAML document", 2),
        ("[a, b]: c", "key must be a scalar", 1),
        ("a: {<<: 3}", "must name a mapping", 1),
        ("a: {<<: [[x]]}", "must name a mapping", 1),
        ("x" * (1 << 20) + "y", "larger than", 1),
        ("é" * (1 << 19) + "y", "larger than", 1),
    ],
)
def test_hostile_texts_give_a_located_error_at_once(text: str, message: str, line: int) -> None:
    start = time.process_time()
    with pytest.raises(YamlError, match=message) as caught:
        load(text, "f.yml")
    assert (caught.value.line, caught.value.file) == (line, "f.yml")
    assert caught.value.column >= 1
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("raw", "message", "where"),
    [
        (b"a: 1\nb: \xff", "UTF-8", (2, 4)),
        (b"\xff\xfea\x00", "UTF-8", (1, 1)),
        (b"a" * (1 << 21), "larger", (1, 1)),
    ],
)
def test_bytes_are_decoded_strictly(raw: bytes, message: str, where: tuple[int, int]) -> None:
    with pytest.raises(YamlError, match=message) as caught:
        load(raw)
    assert (caught.value.line, caught.value.column) == where


def test_a_byte_order_mark_and_crlf_are_read_over() -> None:
    assert to_plain(load(b"\xef\xbb\xbfa: 1\r\nb:\r\n  - x\r\n")) == {"a": 1, "b": ["x"]}


def test_documents_are_counted() -> None:
    assert [to_plain(d) for d in load_all("a: 1\n---\nb: 2", limits=Limits(documents=2))] == [
        {"a": 1},
        {"b": 2},
    ]
    assert load_all("# nothing\n") == []
    assert to_plain(load("")) is None


def test_an_anchor_of_one_document_is_unknown_in_the_next() -> None:
    with pytest.raises(YamlError, match="unknown alias"):
        load_all("a: &a 1\n---\nb: *a", limits=Limits(documents=2))


def test_two_thousand_jobs_are_read_in_a_small_multiple_of_libyamls_own_time() -> None:
    text = "".join(
        f"job{i}:\n  stage: a\n  script:\n    - echo {i}\n    - make\n  needs: [job{i - 1}]\n"
        for i in range(2000)
    )
    gc.disable()  # a collection would walk what all other tests of this process have left
    try:
        start = time.process_time()
        node = load(text)
        assert time.process_time() - start < 1.0
    finally:
        gc.enable()
    assert isinstance(node, Mapping)
    assert len(node.entries) == 2000


YAMLISH = st.text(alphabet="ab:-[]{}&*!<>|'\"#%,?\n\t \\0.~\x85\ufeff", max_size=120)


@given(YAMLISH)
def test_any_text_is_a_tree_or_a_yaml_error(text: str) -> None:
    try:
        node = load(text, limits=Limits(documents=3))
    except YamlError as error:
        assert error.line >= 1
        assert error.column >= 1
    else:
        to_plain(node)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_tree_or_a_yaml_error(raw: bytes) -> None:
    try:
        to_plain(load(raw))
    except YamlError as error:
        assert error.line >= 1


TEXT = st.text(st.characters(exclude_categories=["C"], exclude_characters="\u2028\u2029"), max_size=12)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_json_is_read_back_as_itself(value: object) -> None:
    assert to_plain(load(json.dumps(value, ensure_ascii=False))) == value


def test_resolve_is_linear_on_long_digits() -> None:
    start = time.process_time()
    yamltree.resolve("59:" * 300_000)
    yamltree.resolve("1" * 1_000_000)
    assert time.process_time() - start < 0.5
