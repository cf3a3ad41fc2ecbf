"""Headless Chromium, signed in, against a live server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.live_server import TOKEN, LiveServer

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium; a loud skip without it. Per module: while Playwright is there its event loop runs in
    this thread, and no test of another folder could start one."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium: install Debian's chromium package")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the page's console and scripts complained of; a test that looks at it expects none."""
    return []


@pytest.fixture
def page(browser: Browser, server: LiveServer, complaints: list[str]) -> Iterator[Page]:
    """A signed-in page."""
    context: Any = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 800})
    tab = context.new_page()
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    tab.on("dialog", lambda dialog: (complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
    tab.goto("/sign-in")
    tab.fill("#token", TOKEN)
    tab.click("button.main")
    tab.wait_for_url("/")
    yield tab
    context.close()
