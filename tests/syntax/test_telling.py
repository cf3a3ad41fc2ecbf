"""Failing logs as the tools write them: the line that a person would point at is the cause, counts and noise
are not shown."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from runyard.syntax.telling import told

LIMIT = 10


class Case(NamedTuple):
    """`shown`: what must be among the lines, `hidden`: what must not."""

    log: str
    cause: str
    shown: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


CASES = {
    "pytest": Case(
        """\
============================= test session starts ==============================
platform linux -- Python 3.11.7, pytest-8.3.3, pluggy-1.5.0
rootdir: /builds/acme/shop
collected 42 items

tests/test_errors.py ..........                                          [ 23%]
tests/test_price.py ...F............................                     [100%]

=================================== FAILURES ===================================
_____________________________ test_discount_is_capped __________________________

    def test_discount_is_capped():
>       assert price(100, discount=0.9) == 50
E       assert 10.0 == 50
E        +  where 10.0 = price(100, discount=0.9)

tests/test_price.py:17: AssertionError
=========================== short test summary info ============================
FAILED tests/test_price.py::test_discount_is_capped - assert 10.0 == 50
========================= 1 failed, 41 passed in 0.42s =========================
""",
        "FAILED tests/test_price.py::test_discount_is_capped - assert 10.0 == 50",
        ("E       assert 10.0 == 50", "tests/test_price.py:17: AssertionError"),
        ("1 failed, 41 passed", "tests/test_errors.py ...."),
    ),
    "jest": Case(
        """\
PASS src/errors.test.ts
FAIL src/sum.test.ts
  ● sum \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} adds negative numbers

    expect(received).toBe(expected) // Object.is equality

    Expected: -3
    Received: 3

      4 |   it('adds negative numbers', () => {
    > 5 |     expect(sum(-1, -2)).toBe(-3);
        |                         ^

      at Object.<anonymous> (src/sum.test.ts:5:25)

Test Suites: 1 failed, 1 passed, 2 total
Tests:       1 failed, 6 passed, 7 total
Snapshots:   0 total
Time:        1.482 s
Ran all test suites.
""",
        "● sum \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} adds negative numbers",
        ("Expected: -3", "Received: 3", "at Object.<anonymous> (src/sum.test.ts:5:25)"),
        ("Test Suites:", "Tests:"),
    ),
    "go test": Case(
        """\
ok  	acme.org/shop/cart	0.004s
=== RUN   TestTotal
    total_test.go:14: Total() = 12, want 15
--- FAIL: TestTotal (0.00s)
FAIL
FAIL	acme.org/shop/price	0.006s
ok  	acme.org/shop/errors	0.011s
FAIL
""",
        "total_test.go:14: Total() = 12, want 15",
        ("--- FAIL: TestTotal (0.00s)",),
        ("acme.org/shop/errors",),
    ),
    "cargo": Case(
        """\
   Compiling thiserror v1.0.64
   Compiling shop v0.1.0 (/builds/acme/shop)
warning: unused variable: `x`
 --> src/lib.rs:3:9
error[E0308]: mismatched types
  --> src/main.rs:12:18
   |
12 |     let n: u32 = "five";
   |            ---   ^^^^^^ expected `u32`, found `&str`
   |            |
   |            expected due to this

For more information about this error, try `rustc --explain E0308`.
warning: `shop` (bin "shop") generated 1 warning
error: could not compile `shop` (bin "shop") due to 1 previous error; 1 warning emitted
""",
        "error[E0308]: mismatched types",
        ("--> src/main.rs:12:18",),
        ("could not compile", "Compiling shop"),
    ),
    "tsc": Case(
        """\
> shop@1.0.0 build
> tsc --noEmit

src/api/errors.ts(31,7): error TS2322: Type 'string | undefined' is not assignable to type 'string'.
  Type 'undefined' is not assignable to type 'string'.
src/cart.ts(8,22): error TS2339: Property 'totl' does not exist on type 'Cart'.

Found 2 errors in 2 files.
""",
        "src/api/errors.ts(31,7): error TS2322: Type 'string | undefined' is not assignable to type 'string'.",
        ("src/cart.ts(8,22): error TS2339",),
        ("Found 2 errors", "> tsc"),
    ),
    "eslint": Case(
        """\
> shop@1.0.0 lint
> eslint .

/builds/acme/shop/src/cart.js
   3:10  error    'total' is defined but never used  no-unused-vars
  12:5   warning  Unexpected console statement       no-console

✖ 2 problems (1 error, 1 warning)
""",
        "3:10  error    'total' is defined but never used  no-unused-vars",
        ("/builds/acme/shop/src/cart.js",),
        ("2 problems",),
    ),
    "docker pull": Case(
        """\
Using default tag: latest
Error response from daemon: manifest for acme/shop:latest not found: manifest unknown: manifest unknown
""",
        "Error response from daemon: manifest for acme/shop:latest not found: manifest unknown: manifest unknown",
        (),
        ("Using default tag",),
    ),
    "npm ci": Case(
        """\
npm error code EUSAGE
npm error
npm error `npm ci` can only install packages when your package.json and package-lock.json are in sync.
npm error
npm error Missing: left-pad@1.3.0 from lock file
npm error
npm error A complete log of this run can be found in: /root/.npm/_logs/2026-11-21T22_40_01_123Z-debug-0.log
""",
        "npm error code EUSAGE",
        ("npm error Missing: left-pad@1.3.0 from lock file", "can only install packages"),
        ("A complete log",),
    ),
    "killed for memory": Case(
        """\
Training fold 3 of 10
loss 0.4417
bash: line 1:    17 Killed                  python3 train.py --epochs 40
""",
        "bash: line 1:    17 Killed                  python3 train.py --epochs 40",
        (),
        ("loss",),
    ),
    "not installed": Case(
        "Deploying to staging\n/home/job/temp/script-0.sh: line 2: terraform: command not found\n",
        "/home/job/temp/script-0.sh: line 2: terraform: command not found",
        (),
        ("Deploying",),
    ),
    "crash": Case(
        """\
[ 98%] Linking CXX executable shop_tests
Running 118 test cases...
bash: line 3:    41 Segmentation fault      (core dumped) ./shop_tests
""",
        "bash: line 3:    41 Segmentation fault      (core dumped) ./shop_tests",
        (),
        ("Linking",),
    ),
    "python": Case(
        """\
INFO 0 errors so far
Traceback (most recent call last):
  File "/builds/acme/shop/migrate.py", line 31, in <module>
    main()
  File "/builds/acme/shop/migrate.py", line 12, in main
    connect(url)
psycopg.OperationalError: connection failed: connection to server at "127.0.0.1", port 5432 failed: Connection refused
""",
        'psycopg.OperationalError: connection failed: connection to server at "127.0.0.1", port 5432 failed: Connection refused',
        ('File "/builds/acme/shop/migrate.py", line 12, in main',),
        ("connect(url)",),
    ),
    "gcc under make": Case(
        """\
cc -O2 -Wall -c errors.c -o errors.o
cc -O2 -Wall -c cart.c -o cart.o
cart.c: In function 'total':
cart.c:7:12: error: 'n' undeclared (first use in this function)
    7 |     return n * 2;
      |            ^
make: *** [Makefile:4: cart.o] Error 1
""",
        "cart.c:7:12: error: 'n' undeclared (first use in this function)",
        (),
        ("make: ***", "cart.o\n"),
    ),
    "a retry before the end": Case(
        "Error: connect ETIMEDOUT, trying again\n" + "ok\n" * 500 + "fatal: repository 'x' not found\n",
        "fatal: repository 'x' not found",
        (),
        ("ETIMEDOUT",),
    ),
    "nothing known": Case("one\ntwo\nthe build was refused\nbye\n", "the build was refused"),
    "silence": Case("one\ntwo\n", "", ("one", "two")),
}


def seen(log: str) -> tuple[str, list[str]]:
    bodies = [line for line in log.splitlines() if line.strip()]
    found = told(bodies, LIMIT)
    return "" if found.cause is None else bodies[found.cause].strip(), [bodies[at] for at in found.shown]


@pytest.mark.parametrize("name", CASES)
def test_the_line_a_person_would_point_at(name: str) -> None:
    case = CASES[name]
    cause, lines = seen(case.log)
    assert cause == case.cause
    assert not case.cause or cause in [line.strip() for line in lines]
    for text in case.shown:
        assert any(text in line for line in lines), (text, lines)
    for text in case.hidden:
        assert not any(text in f"{line}\n" for line in lines), (text, lines)
    assert len(lines) <= LIMIT


def test_a_long_line_costs_no_time() -> None:
    for text in (
        "a" * 200_000,
        " " * 200_000,
        "." * 200_000,
        "a." * 100_000,
        "1 a, " * 40_000,
        "npm error" * 9000,
    ):
        seen(text + "\nerror: x\n")
