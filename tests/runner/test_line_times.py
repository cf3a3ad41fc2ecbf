"""The time of a piece of log is when it came to the server, not when the disk had room for it."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from runyard.http.auth import hash_token
from runyard.model.plan import JobPlan, Network
from runyard.runner.local import LocalLink, enroll
from tests.runner.conftest import Yard, clock, make_ports, seed, sh


def test_pieces_that_wait_for_a_slow_commit_keep_their_times(tmp_path: Path) -> None:
    now = [clock()]
    ports = replace(make_ports(tmp_path), now=lambda: now[0])
    try:
        link = LocalLink(ports, enroll(ports, "test", (), hash_token("x")))
        yard = Yard(ports, *seed(ports), link)
        (attempt,) = yard.submit(JobPlan("job", "job", steps=(sh("true"),), network=Network.NONE))
        work = link.claim_now()
        assert work is not None and work.attempt_id == attempt
        slow = threading.Event()
        ports.db.submit_write(lambda tx: slow.wait(60))
        sent = []
        for number in range(2):
            sent.append(link.log(work, 4 * number, b"one\n"))
            now[0] += 5000
        slow.set()
        assert all(one.result(60).accepted for one in sent)
        times = ports.db.submit_read(lambda tx: tx.log_times(attempt, 0, 8)).result()
        assert [at - times[0][1] for _, at in times] == [0, 5000]
    finally:
        ports.db.close()
