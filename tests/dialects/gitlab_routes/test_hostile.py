"""What the GitLab door refuses to people who are no administrators and to jobs (contracts/reliability.md §5
B, D, F)."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest

from runyard.model.access import Role
from runyard.model.errors import Forbidden
from runyard.model.work import Project

PLAIN = "glpat-plain"


def test_a_job_starts_nothing_in_another_project_even_a_public_one(house: Any) -> None:
    own, other = house.project("group/own"), house.project("group/public")
    house.write(lambda tx: tx.save(replace(tx.get(Project, other), visibility="public")))
    house.pipeline(own)
    job = house.claim(house.runner()).json()

    def fire(project: int) -> int:
        body = {"ref": "main", "token": job["token"]}
        return int(
            house.call("POST", f"/projects/{project}/trigger/pipeline", token=None, json=body).status_code
        )

    assert fire(other) == 404
    assert fire(own) == 201


def test_a_hidden_variable_is_never_shown_again(house: Any) -> None:
    project = house.project()
    body = {"key": "HIDDEN", "value": "do-not-show-me", "masked_and_hidden": True}
    made = house.call("POST", f"/projects/{project}/variables", json=body)
    assert made.status_code == 201
    changed = house.call(
        "PUT", f"/projects/{project}/variables/HIDDEN", json={"masked": False, "value": "next-value"}
    )
    listed = house.call("GET", f"/projects/{project}/variables")
    for answer in (made, changed, listed):
        assert "do-not-show-me" not in answer.text and "next-value" not in answer.text
        (row,) = answer.json() if isinstance(answer.json(), list) else [answer.json()]
        assert (row["hidden"], row["masked"], row["value"]) == (True, True, None)


def test_runners_are_made_by_administrators(house: Any) -> None:
    """An instance's runner is handed passwords of databases; a project's own is its maintainers' affair."""
    project = house.project()
    instance, own = {"runner_type": "instance_type"}, {"runner_type": "project_type", "project_id": project}

    def status(kind: dict[str, Any]) -> int:
        return int(house.call("POST", "/user/runners", token=PLAIN, json=kind).status_code)

    assert (status(instance), status(own)) == (403, 404), "a stranger does not hear of the project"
    house.join(project, Role.DEVELOPER)
    assert (status(instance), status(own)) == (403, 403)
    house.join(project, Role.MAINTAINER)
    assert (status(instance), status(own)) == (403, 201)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/x", "http://169.254.169.254/latest", "http://[::1]/x", "http://[::ffff:127.0.0.1]/x", "http://0.0.0.0/x",
        "http://2130706433/x", "http://0x7f.1/x", "http://127.1/x", "http://10.0.0.1/x", "http://100.64.0.1/x", "http://[fd00::1]/x",
        "http://evil@127.0.0.1#@good/", "file:///etc", "/etc", "ext::sh -c id", "EXT::sh", "fd::17", "git://127.0.0.1/x",
        "ssh://-oProxyCommand=x/y", "-oProxyCommand=x:y", "--upload-pack=touch", "http://a/b\r\nX: y",
    ],
)  # fmt: skip
def test_a_person_imports_nothing_from_this_machine_or_its_networks(house: Any, url: str) -> None:
    answer = house.call("POST", "/projects", token=PLAIN, json={"path": "plain/x", "import_url": url})
    assert answer.status_code == 400, answer.text
    assert "import_url" in answer.json()["message"]
    assert house.services.db.submit_read(lambda tx: tx.project_by_path("plain/x")).result() is None


def test_a_person_opens_nothing_with_the_servers_own_key(house: Any) -> None:
    """ssh takes the keys of the user that the server runs as, whatever HOME says."""
    for url in ("ssh://git@8.8.8.8/a/b.git", "git@8.8.8.8:a/b.git"):
        body = {"path": "plain/x", "import_url": url}
        answer = house.call("POST", "/projects", token=PLAIN, json=body)
        assert answer.status_code == 400 and "its own key" in answer.text
        with pytest.raises(Forbidden, match="its own key"):
            house.services.source.mirror_public(1, url)


def test_a_name_that_turns_to_this_machine_later_is_refused_when_it_is_fetched(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding (D3): public when the project was made, loopback at the next pull."""
    project = house.project("group/mirror")
    house.join(project, Role.MAINTAINER)
    house.write(
        lambda tx: tx.save(replace(tx.get(Project, project), import_url="http://rebinds.example/x.git"))
    )
    loopback = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: loopback)
    with pytest.raises(Forbidden):
        house.services.source.mirror_public(project, "http://rebinds.example/x.git")
    assert house.call("POST", f"/projects/{project}/mirror/pull", token=PLAIN).status_code == 403
