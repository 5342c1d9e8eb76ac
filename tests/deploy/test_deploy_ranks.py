from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np

from mixgym.signals import Signals
from tests.deploy.rank_worker import run

ROOT = Path(__file__).parents[2]


def launch(out: Path, rank: int, port: int) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    command = [sys.executable, "-m", "tests.deploy.rank_worker", str(out), f"{rank}.json"]
    return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_two_processes_decide_alike_and_as_one_with_the_whole_batch(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workers = [launch(tmp_path, rank, port) for rank in (0, 1)]
    one = run(tmp_path / "alone", 8)
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    # Saved in the middle of the last decision, resumed by both: the same numbers again, but that
    # sums of gradients are added up in another order.
    whole, resumed = first
    pairs = [[Signals.from_json(s) for s in seen.pop("signals")] for seen in (whole, resumed)]
    actions = whole.pop("actions")
    assert resumed.pop("actions") == [] and resumed == whole
    for a, b in zip(pairs[0][-1:], pairs[1], strict=True):
        for item in fields(Signals):
            rtol = 1e-5 if "gradient" in item.name or "alignment" in item.name else 0.0
            np.testing.assert_allclose(getattr(a, item.name), getattr(b, item.name), rtol=rtol)
    assert whole["tokens"] == one["tokens"]
    np.testing.assert_allclose(actions, one["actions"], atol=1e-4)
    for a, theirs in zip(pairs[0], one["signals"], strict=True):
        b = Signals.from_json(theirs)
        assert a.counts.tolist() == b.counts.tolist()
        np.testing.assert_allclose(a.train_loss, b.train_loss, rtol=1e-4)
        np.testing.assert_allclose(a.validation_loss, b.validation_loss, rtol=1e-4)
        np.testing.assert_allclose(a.gradient_norms, b.gradient_norms, rtol=1e-3)
