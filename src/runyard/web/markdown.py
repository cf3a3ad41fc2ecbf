"""Summaries that jobs write, as HTML: the part of Markdown that reports use (headings, tables, lists, code,
emphasis, web links).

Called by routes for job pages. Pure. Every character of the text is escaped; HTML in it is shown, never
obeyed, and images are only named. Linear in the length of the text, which the caller has cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

LINES = 5000
_HEADING = re.compile(r"(#{1,6}) +(.*?)(?: +#+)?$")
_ITEM = re.compile(r"(?:[-*+]|\d{1,9}[.)]) +(.*)$")
_TASK = re.compile(r"\[([ xX])\] +")
_RULE = re.compile(r"(?:-{3,}|\*{3,}|_{3,})$")
_DIVIDER = re.compile(r"\|?[ :|-]*-[ :|-]*\|[ :|-]*$")
_FENCE = re.compile(r"(`{3,}|~{3,})")
_CODE = re.compile(r"`([^`\n]+)`")
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
_ITALIC = re.compile(r"(?<![\w*])[*_]([^*_\n]+)[*_](?![\w*])")
_LINK = re.compile(r"\[([^\[\]\n]+)\]\((https?://[^\s()<>\"]+)\)")
_CELL_END = re.compile(r"(?<!\\)\|")


def render(text: str) -> str:
    """HTML that can be put into a page as it is."""
    lines = text.replace("\r\n", "\n").expandtabs(4).split("\n")
    html = "".join(_blocks(lines[:LINES]))
    return html + ("<p>…</p>" if len(lines) > LINES else "")


def _blocks(lines: list[str]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at].strip()
        if not line:
            at += 1
        elif fence := _FENCE.match(line):
            end = _until(lines, at + 1, fence[1])
            yield f"<pre>{escape(chr(10).join(lines[at + 1 : end]))}</pre>"
            at = end + 1
        elif heading := _HEADING.match(line):
            level = min(6, len(heading[1]) + 2)  # the page has its own first two
            yield f"<h{level}>{inline(heading[2])}</h{level}>"
            at += 1
        elif _RULE.match(line):
            yield "<hr>"
            at += 1
        elif "|" in line and at + 1 < len(lines) and _DIVIDER.match(lines[at + 1].strip()):
            end = _while(lines, at + 2, "|")
            yield _table(lines[at], lines[at + 1], lines[at + 2 : end])
            at = end
        elif _ITEM.match(line):
            end = at
            while end < len(lines) and (item := _ITEM.match(lines[end].strip())):
                yield ("<ul>" if end == at else "") + _item(item[1])
                end += 1
            yield "</ul>"
            at = end
        else:
            end = at + 1
            while end < len(lines) and _continues(lines[end].strip()):
                end += 1
            yield f"<p>{'<br>'.join(inline(one.strip()) for one in lines[at:end])}</p>"
            at = end


def _item(text: str) -> str:
    """A task's box is a sign, nothing that can be ticked."""
    task = _TASK.match(text)
    if task is None:
        return f"<li>{inline(text)}</li>"
    return f"<li>{'☐' if task[1] == ' ' else '☑'} {inline(text[task.end() :])}</li>"


def _continues(line: str) -> bool:
    return bool(line) and not (_FENCE.match(line) or _HEADING.match(line) or _ITEM.match(line) or "|" in line)


def _until(lines: list[str], at: int, fence: str) -> int:
    while at < len(lines) and not lines[at].strip().startswith(fence):
        at += 1
    return at


def _while(lines: list[str], at: int, mark: str) -> int:
    while at < len(lines) and mark in lines[at]:
        at += 1
    return at


def _table(head: str, divider: str, rows: list[str]) -> str:
    right = [cell.endswith(":") and not cell.startswith(":") for cell in _cells(divider)]

    def row(line: str, tag: str) -> str:
        cells = _cells(line)[:50]
        return "".join(
            f"<{tag}{' class=num' if n < len(right) and right[n] else ''}>{inline(cell)}</{tag}>"
            for n, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{row(line, 'td')}</tr>" for line in rows)
    return f'<div class="wide"><table><thead><tr>{row(head, "th")}</tr></thead><tbody>{body}</tbody></table></div>'


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [cell.strip().replace("\\|", "|") for cell in _CELL_END.split(inner)]


def inline(text: str) -> str:
    """One line: code first, nothing inside it is anything else."""
    parts = _CODE.split(text)
    return "".join(f"<code>{escape(p)}</code>" if n % 2 else _words(p) for n, p in enumerate(parts))


def _words(text: str) -> str:
    html = escape(text)
    html = _LINK.sub(r'<a href="\2" rel="noopener noreferrer nofollow">\1</a>', html)
    return _ITALIC.sub(r"<em>\1</em>", _BOLD.sub(r"<strong>\1</strong>", html))
