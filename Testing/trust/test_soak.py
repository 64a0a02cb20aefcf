"""A short soak: heals and cancels through one worker leave neither files nor open handles, and memory stays."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from soak import slope, soak


def test_forty_heals_and_cancels() -> None:
    found = soak(40)
    assert set(found["ended"]) <= {"done", "cancelled"}
    assert sum(found["ended"].values()) == 40
    assert found["ended"]["done"] >= 26  # every third was cancelled, where it had not ended yet
    assert found["one_worker"]
    assert found["files_left"] == []
    for who in ("worker_handles", "client_handles"):
        assert max(found[who][20:]) <= max(found[who][5:20]) + 1, found[who]
    assert found["worker_mb"][-1] < found["worker_mb"][10] + 40


def test_a_slope_is_per_thousand_and_leaves_out_the_start() -> None:
    at = list(range(0, 1001, 100))
    assert abs(slope([n / 100 for n in at], at) - 10) < 1e-9
    assert abs(slope([50.0, 10.0] + [5.0] * 9, at)) < 1e-9
