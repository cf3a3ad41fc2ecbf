"""RE2 patterns, Ruby's path globs and GitHub's filter globs."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.syntax import patterns
from runyard.syntax.patterns import PatternError, filter_glob, literal, ordered_filter, path_glob


@pytest.mark.parametrize(
    "pattern",
    ["(?=a)", r"(a)\1", "((a{100}){100}){100}", "a" * 9000, "(", "[a", "*", "\\"],
)
def test_what_re2_refuses_is_a_clean_error(pattern: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PatternError):
        patterns.compile(pattern)
    assert capfd.readouterr().err == ""


def test_catastrophic_patterns_are_linear() -> None:
    start = time.process_time()
    assert not patterns.compile("(a+)+$").found_in("a" * 200_000 + "!")
    assert not patterns.compile("(x+x+)+y").found_in("x" * 200_000)
    assert time.process_time() - start < 2


def test_flags_and_literals() -> None:
    assert patterns.compile("ab", "i").found_in("xAB")
    assert patterns.compile("^b$", "m").found_in("a\nb")
    with pytest.raises(PatternError, match="unknown flag 'x'"):
        patterns.compile("a", "x")
    found = literal(r"/^a\/b$/i")
    assert found
    assert found.found_in("A/B")
    assert literal("abc") is None
    assert literal("//") is None
    assert literal("/a/x") is None
    assert literal("a/b/") is None


def test_first_and_last_give_groups() -> None:
    cover = patterns.compile(r"TOTAL (\d+)%( x)?")
    assert cover.last("TOTAL 1%\nTOTAL 77% x\n") == ("TOTAL 77% x", "77", " x")
    assert cover.first("TOTAL 1%\nTOTAL 77%") == ("TOTAL 1%", "1", None)
    assert cover.last("nothing") is None
    assert patterns.compile("a").found_in("\ud800a")


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*.md", ["a.md", ".md"], ["d/a.md", "a.mdx"]),
        ("**/*.md", ["a.md", "d/a.md", "d/.e/a.md"], ["a.txt"]),
        ("docs/**/*", ["docs/a", "docs/b/c", "docs/.x"], ["docs", "xdocs/a"]),
        ("docs/**", ["docs/a"], ["docs/a/b"]),
        ("**", ["a"], ["a/b"]),
        ("a**/b", ["a/b", "ax/b"], ["a/x/b"]),
        ("{a,b}/*.{rb,py}", ["a/x.rb", "b/x.py"], ["c/x.rb", "a/x.js"]),
        ("{a,{b,c}d}e", ["ae", "bde", "cde"], ["de", "be"]),
        ("x{a}y", ["xay"], ["x{a}y"]),
        ("x{a", ["x{a"], ["xa"]),
        (r"\{a,b\}", ["{a,b}"], ["a"]),
        ("{**/,}x", ["x", "a/b/x"], ["ax"]),
        ("f?o", ["foo"], ["fo", "f/o"]),
        ("[a-c]x", ["ax", "cx"], ["dx"]),
        ("[!a-c]x", ["dx"], ["ax", "/x"]),
        ("[^a]x", ["bx"], ["ax"]),
        ("[.-z]x", ["ax", ".x"], ["/x"]),
        ("[]a]x", ["]x", "ax"], ["bx"]),
        ("[a", [], ["a", "[a"]),
        (r"a\*b", ["a*b"], ["axb"]),
        ("a.b", ["a.b"], ["axb"]),
        ("Ä*", ["Äx"], ["x"]),
        ("a\nb", ["a\nb"], ["a", "b"]),
    ],
)
def test_path_globs_match_as_ruby_fnmatch(glob: str, yes: list[str], no: list[str]) -> None:
    pattern = path_glob(glob)
    assert [name for name in yes if not pattern.found_in(name)] == []
    assert [name for name in no if pattern.found_in(name)] == []


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("feature/*", ["feature/a"], ["feature/a/b", "feature/"[:-1]]),
        ("feature/**", ["feature/a/b", "feature/a"], ["features"]),
        ("*", ["main"], ["a/b"]),
        ("**", ["main", "a/b"], []),
        ("v2*", ["v2", "v2.0"], ["v1"]),
        ("v[12].[0-9]+.[0-9]+", ["v1.10.1", "v2.0.0"], ["v3.0.0", "v1.x.0"]),
        ("*.jsx?", ["a.js", "a.jsx"], ["a.jsxx", "d/a.js"]),
        ("**.js", ["a.js", "d/e/a.js"], ["a.ts"]),
        ("docs/**/*.md", ["docs/a.md", "docs/x/y/a.md"], ["a.md"]),
        ("**/docs/**", ["docs/a", "x/docs/b/c"], ["docs"]),
        ("?x", ["?x"], ["x"]),
        ("+x", ["+x"], ["x"]),
        (r"a\*", ["a*"], ["ab"]),
        (r"\*?x", ["*x", "x"], ["ax"]),
        ("release/**-alpha", ["release/1-alpha", "release/a/b-alpha"], ["release/1"]),
    ],
)
def test_filter_globs_match_as_githubs(glob: str, yes: list[str], no: list[str]) -> None:
    pattern = filter_glob(glob)
    assert [name for name in yes if not pattern.found_in(name)] == []
    assert [name for name in no if pattern.found_in(name)] == []


def test_later_filters_override_earlier_ones() -> None:
    holds = ordered_filter(["releases/**", "!releases/**-alpha", "releases/x-alpha"])
    assert holds("releases/1")
    assert not holds("releases/1-alpha")
    assert holds("releases/x-alpha")
    assert not ordered_filter(["!a"])("b")


@pytest.mark.parametrize("glob", ["[a", "[z-a]", "[!-~]", "a" * 9000])
def test_bad_filter_globs_are_refused(glob: str) -> None:
    with pytest.raises(PatternError):
        filter_glob(glob)


def test_brace_bombs_and_star_bombs_are_bounded() -> None:
    with pytest.raises(PatternError, match="more than 256 alternatives"):
        path_glob("{a,b}" * 30)
    start = time.process_time()
    pattern = path_glob("**/" * 40 + "a*b*c*d*e*f*g*h*")
    assert not pattern.found_in("/".join(["a" * 50] * 80))
    with pytest.raises(PatternError):
        path_glob("{" * 3000 + "a,b" + "}" * 3000 + "{a,b}" * 300)
    assert time.process_time() - start < 2


@given(st.text(alphabet="ab/*?[]!^-{},\\.+", max_size=14), st.text(alphabet="ab/.-", max_size=8))
def test_any_glob_compiles_or_is_refused(glob: str, name: str) -> None:
    for make in (path_glob, filter_glob):
        with contextlib.suppress(PatternError):
            make(glob).found_in(name)


@given(st.text(alphabet="ab/.-x+ (){}$^|", max_size=10))
def test_a_glob_without_metacharacters_matches_itself_only(name: str) -> None:
    plain = name.replace("{", "").replace("}", "").replace("+", "")
    assert path_glob(plain).found_in(plain)
    assert not path_glob(plain).found_in(plain + "z")
    assert filter_glob(plain).found_in(plain)
