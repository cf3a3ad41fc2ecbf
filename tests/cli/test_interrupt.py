"""Ctrl-C, wherever a verb stands: the code that shells know, and no traceback."""

from __future__ import annotations

import sys

import pytest

from runyard import __main__ as command


@pytest.mark.parametrize("where", ["load", "verb"])
def test_an_interrupted_verb_ends_with_130(
    where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "load", stop if where == "load" else lambda _: stop)
    monkeypatch.setattr(sys, "argv", ["runyard", "check"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "")
