# ruff: noqa: RUF001
"""Expressions that GitHub's own evaluator and ours must agree on: written ones, and the product of operands
and operators."""

from __future__ import annotations

from typing import Any

CONTEXT: dict[str, Any] = {
    "a": {
        "x": [1, 2, "three", None, True],
        "o": {"p": {"n": 2}, "q": {"m": 1}, "R": "up"},
        "s": "Text", "n": 5, "f": 1.5, "t": True, "u": False, "z": None, "empty": "", "arr": [], "obj": {},
        "nested": [{"name": "one", "tags": ["a", "b"]}, {"name": "two", "tags": ["c"]}, {"other": 1}],
        "num": "42", "hex": "0x1F", "space": "  7 ", "neg": -3, "a-b": "dash", "under_score": 1, "Mixed": "Case",
        "json": '{"k":[1,2,{"d":null}],"K2":"v"}', "list": '["x","y"]', "bad": "{", "one": "1", "zero": "0", "nan": "NaN",
        "multi": "line\nbreak", "quote": 'say "hi"', "unicode": "ÄÖ ß 😀", "turkish": "İı", "braces": "{0}",
    },
    "b": "plain", "c": [3, 4], "d": 7, "e": True, "g": None, "long": "x" * 300,
}  # fmt: skip

WRITTEN = r"""
a
a.x
a.o
a.s
a.z
a.X
A.S
a['s']
a["s"]
a['S']
a.o.p.n
a.o.p.N
a.o['p']['n']
a.o.missing
a.o.missing.deeper
a.o.missing.deeper.still
a.s.length
a.n.x
a.z.x
a.x[0]
a.x[1]
a.x[5]
a.x[-1]
a.x['1']
a.x['x']
a.x[1.9]
a.x[0x1]
a.x[true]
a.x[null]
a.x[a.u]
a.x['']
a.x.0
a.x.length
a[null]
a[true]
a[1]
a['a-b']
a.a-b
a.under_score
a.Mixed
a.mixed
a.o.*
a.o.*.n
a.o.*.n[0]
a.x.*
a.x.*.n
a.x[*]
a.o[*].m
a.nested.*.name
a.nested[*].name
a.nested.*.tags
a.nested.*.tags.*
a.nested.*.tags[0]
a.nested.*.other
a.nested.*.missing
a.nested[0].name
a.nested[0].*
a.nested[0].tags[1]
a.nested[9].name
a.s.*
a.n.*
a.z.*
a.obj.*
a.arr.*
c.*
c[0]
c[1]
c[2]
c[d]
b.*
d.*
g.*
(a).s
(a.o).p
((a)).s
(a.s)
((1))
a . s
a. s
a .s
	a.s
a .o . p
a [ 's' ]
1
-1
+1
1.5
.5
-.5
+.5
1.
0
-0
00
007
0x1F
0X1f
0xFF
0o17
0O17
0b11
1e3
1E3
1e-3
1e+3
1e400
-1e400
1e-400
NaN
nan
Infinity
-Infinity
+Infinity
infinity
1_000
1,000
1a
0x
0xG
0o8
--1
+-1
- 1
'text'
''
'it''s'
''''
''''''
'a"b'
"text"
'unclosed
'${{ a }}'
'a
b'
'\n'
'😀'
true
false
null
True
TRUE
False
Null
NULL
None
undefined
!true
!false
!null
!''
!'x'
!0
!1
!-1
!NaN
!!1
!!!1
!a
!a.z
!a.x
!a.obj
!a.arr
!(1 == 2)
!1 == 2
! true
1 == 1
1 == 1.0
1 == '1'
1 == '1.0'
1 == '0x1'
1 == '1e0'
1 == ' 1 '
1 == true
0 == false
0 == null
0 == ''
'' == null
'' == false
null == false
null == null
NaN == NaN
NaN != NaN
'a' == 'A'
'ß' == 'SS'
'ÄÖ' == 'äö'
'İ' == 'i'
'ı' == 'I'
'i' == 'I'
a == a
a.x == a.x
a.o == a.o
a.x == a.arr
a.arr == a.arr
a.obj == a.obj
a.obj == a.arr
a.x == 'Array'
a.o == 'Object'
a.x == 1
a.o == null
a.z == null
a.missing == null
a.missing == ''
a.missing == 0
a.hex == 31
a.num == 42
a.space == 7
'1' == true
'true' == true
'0' == false
'' == 0
'abc' == 0
'NaN' == NaN
'Infinity' == Infinity
1 != 1
1 != 2
'a' != 'b'
'a' != 'A'
a.x != a.x
1 < 2
2 < 1
1 < 1
1 <= 1
1 > 0
1 >= 1
'a' < 'b'
'a' < 'B'
'B' > 'a'
'b' > 'A'
'a' <= 'A'
'a' >= 'A'
'10' < '9'
'10' < 9
10 < '9'
'a' < 1
'a' > 1
null < 1
null <= 0
null >= 0
true > false
true >= 1
false < true
NaN < 1
NaN > 1
NaN <= NaN
NaN >= NaN
a.x > 1
a.x >= a.x
a.x <= a.x
a.x < a.x
a.o >= a.o
a.o > 1
a.n > a.f
a.neg < 0
1 < 2 < 3
3 > 2 > 1
1 == 1 == 1
1 == 1 == true
2 > 1 == true
1 < 2 == 2 < 3
1 && 2
0 && 2
'' && 'x'
'x' && ''
'x' && 'y' && 'z'
1 || 2
0 || 2
'' || 'd'
'' || null
null || '' || 0
a.z || 'default'
a.missing || 'default'
a.s || 'default'
a.n == 5 && 'five' || 'other'
a.n == 6 && 'six' || 'other'
1 && 0 || 3
1 || 0 && 3
0 || 0 && 3
true && false || true
false || true && false
!false && false
!(false && false)
true == false || true
(true || false) && false
true || missing.x
false && missing.x
true && a.o
true && a.x
a && b && c
1 &&
&& 1
1 || || 2
1 & 2
1 | 2
1 = 1
1 === 1
1 !== 1
1 + 2
1 - 2
1 * 2
1 / 2
1 % 2
a ? b : c
a..b
a.
.a
a[
a[]
a]
a[1
a[1]]
(1
1)
()
(())
[1]
{}
a.'s'
a."s"
a.*x
a.x.*.
*
a *
'x'[0]
'x'.length
true.x
1.x
null.x
(1).x
('x')[0]
('x').length
!a.x[0]
-a.n
+a.n
a b
a 's'
1 2
,
a,b
@
#
$
a.$x
a.1x
_x
a._x
a-b
a.a-b == 'dash'
;
\
`x`
~a
^
a?.b
contains('abc', 'b')
contains('abc', 'B')
contains('ABC', 'b')
contains('abc', '')
contains('', '')
contains('', 'a')
contains('abc', 'abcd')
contains(a.x, 1)
contains(a.x, '1')
contains(a.x, 2)
contains(a.x, '2')
contains(a.x, 'THREE')
contains(a.x, null)
contains(a.x, '')
contains(a.x, true)
contains(a.x, 'true')
contains(a.x, 99)
contains(a.o, 'up')
contains(a.nested.*.name, 'one')
contains(a.nested.*.name, 'ONE')
contains(a.nested.*.name, 'three')
contains(a.nested, 'one')
contains(a.arr, 1)
contains(123, 2)
contains(12.5, '.')
contains(true, 'ru')
contains(null, '')
contains('x', null)
contains('true', true)
contains('12', 1)
contains('x', a.o)
contains('x', a.x)
contains(a.x, a.x)
contains(a.o, a.o)
contains(fromJSON('["push","pull_request"]'), 'push')
contains(fromJSON('[1,2]'), '1')
contains('a')
contains()
contains('a','b','c')
CONTAINS('abc', 'a')
Contains('abc', 'a')
contains ('abc', 'a')
contains('abc' , 'a' )
contains('abc' 'a')
contains('abc',)
contains(,'abc')
startsWith('abc', 'a')
startsWith('abc', 'A')
startsWith('abc', 'b')
startsWith('abc', '')
startsWith('', '')
startsWith('', 'a')
startsWith(12, 1)
startsWith(12, '1')
startsWith(true, 't')
startsWith(null, '')
startsWith('null', null)
startsWith(a.x, 'A')
startsWith('Array', a.x)
startsWith(a.o, 'O')
startsWith('a')
startsWith('a','b','c')
startswith('abc','ab')
STARTSWITH('abc','ab')
endsWith('abc', 'c')
endsWith('abc', 'C')
endsWith('abc', 'b')
endsWith('abc', '')
endsWith(12, 2)
endsWith(1.5, '.5')
endsWith(a.x, 'y')
endsWith(a.o, 't')
endsWith(false, 'SE')
endsWith('a')
format('x')
format('{0}', 1)
format('{0}{1}', 1, 2)
format('{1}{0}', 1, 2)
format('{0} {0}', 1)
format('{{0}}', 1)
format('{{{0}}}', 1)
format('{0} {{1}}', 1)
format('{{')
format('}}')
format('{{}}')
format('{')
format('}')
format('{}')
format('{}', 1)
format('{0', 1)
format('0}', 1)
format('{a}', 1)
format('{-1}', 1)
format('{ 0 }', 1)
format('{0 }', 1)
format('{00}', 1)
format('{1}', 1)
format('{2}', 1, 2)
format('{10}', 0,1,2,3,4,5,6,7,8,9,10)
format('{0}', null)
format('{0}', true)
format('{0}', false)
format('{0}', 1.5)
format('{0}', -0)
format('{0}', NaN)
format('{0}', Infinity)
format('{0}', a.x)
format('{0}', a.o)
format('{0}', a.s)
format('{0}', '{1}')
format('{0}', a.braces)
format(a.braces, 'in')
format('{0:x}', 1)
format(1)
format(null)
format(true)
format(a.x)
format('')
format()
format('{0}', 'it''s')
format('{0}{1}{2}', 'a', 'b')
join(a.x)
join(a.x, '')
join(a.x, '-')
join(a.x, ', ')
join(a.x, null)
join(a.x, 1)
join(a.x, a.o)
join(c)
join(c, '')
join('s')
join('s', 'x')
join(1)
join(true)
join(null)
join(a.o)
join(a.arr)
join(a.nested)
join(a.nested.*.name)
join(a.nested.*.name, ' and ')
join(a.o.*.n)
join(a.nested.*.tags)
join(a.nested.*.tags.*)
join()
join(a.x, 'a', 'b')
toJSON(1)
toJSON(1.5)
toJSON(-0)
toJSON(1e21)
toJSON(1e-7)
toJSON('x')
toJSON('')
toJSON('a"b')
toJSON(a.multi)
toJSON(a.quote)
toJSON(a.unicode)
toJSON('\')
toJSON('/')
toJSON(true)
toJSON(null)
toJSON(a.x)
toJSON(a.o)
toJSON(a.arr)
toJSON(a.obj)
toJSON(a.nested)
toJSON(a.nested.*.name)
toJSON(c)
toJSON(a.missing)
toJson(1)
TOJSON(1)
toJSON()
toJSON(1, 2)
fromJSON('1')
fromJSON('1.5')
fromJSON('-1')
fromJSON('1e3')
fromJSON('true')
fromJSON('false')
fromJSON('null')
fromJSON('"x"')
fromJSON('"\u00e4"')
fromJSON('[]')
fromJSON('{}')
fromJSON('[1,"a",null,true]')
fromJSON('[1,2]')[1]
fromJSON('[1,2]')[2]
fromJSON('{"a":{"b":[1,2]}}').a.b[1]
fromJSON('{"a":1}').A
fromJSON('{"A":1}').a
fromJSON('{"a":1,"b":2}').*
fromJSON(a.json).k[2].d
fromJSON(a.json).k2
fromJSON(a.json).*
fromJSON(a.list)[0]
fromJSON(a.list).*
fromJSON(toJSON(a.o)).p.n
fromJSON(toJSON(a.x))[2]
toJSON(fromJSON('{"b":1,"a":2}'))
toJSON(fromJSON('[1.0, 1e2, 0.10]'))
fromJSON(' 1 ')
fromJSON('')
fromJSON(' ')
fromJSON('{')
fromJSON(a.bad)
fromJSON('[1,]')
fromJSON('{a:1}')
fromJSON('01')
fromJSON('NaN')
fromJSON('''x''')
fromJSON(null)
fromJSON(1)
fromJSON(true)
fromJSON(a.x)
fromJSON(a.o)
fromJSON('"a" "b"')
fromJSON()
fromJSON('1','2')
fromjson('1')
FROMJSON('1')
case(true, 1, 2)
case(false, 1, 2)
case(1 == 1, 'a', 'b')
case(false, 1, true, 2, 3)
case(false, 1, false, 2, 3)
case(1, 1, 2)
case('true', 1, 2)
case(null, 1, 2)
case(true, 1)
case(true)
case()
case(true, 1, false, 2)
case(true, a.o.p.n, a.x)
CASE(true, 1, 2)
case(a.t, 'yes', 'no')
case(a.missing, 'yes', 'no')
hashFiles('x')
success()
always()
failure()
cancelled()
missing
missing.x
missing()
missing(1)
a()
a.s()
contains
contains.x
true()
null()
format
toJSON
(contains)('a','b')
contains(a.s, 'ex') && endsWith(a.s, 't')
contains(a.s, 'ex') || missing
contains(join(c, ','), '3')
format('{0}-{1}', a.s, join(c, '+'))
startsWith(format('{0}', a.n), '5')
a.nested[a.missing]
a.nested[0][format('na{0}', 'me')]
a[format('{0}', 's')]
a[b]
a[a.s]
a.o[a.x[0]]
a.x[a.x[0]]
a.x[c[0]]
c[a.x[5]]
a.nested.*.tags.*.x
a.*.n
a.*
a.o.*.*
a.nested.*.*
a.nested.*[0]
a.nested.*.tags.*[0]
a.x.*[0]
(a.nested.*.name)[0]
(a.nested.*.name)[1]
a.nested.*.name[0]
toJSON(a.nested.*.tags[0])
toJSON(a.nested.*.tags.*)
toJSON(a.o.*.n)
!contains('a','b')
!contains('a','b') == true
a.t && !a.u
a.t == true
a.t == 'true'
a.t == 1
a.empty == ''
a.empty == false
a.empty == 0
a.empty || 'none'
a.zero == 0
a.zero && 'yes'
a.nan == NaN
a.turkish == 'İı'
a.turkish == 'iI'
a.unicode == 'äö SS 😀'
a.unicode == 'äö ß 😀'
long == long
""".strip("\n").split("\n")

OPERANDS = (
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1.5",
    "NaN",
    "''",
    "'a'",
    "'B'",
    "'1'",
    "'abc'",
    "a.x",
    "a.obj",
    "a.z",
)
OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "&&", "||")
PRODUCT = [f"{left} {operator} {right}" for left in OPERANDS for right in OPERANDS for operator in OPERATORS]

EXPRESSIONS = list(dict.fromkeys([*WRITTEN, *PRODUCT]))
