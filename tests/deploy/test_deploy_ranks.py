from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mixgym.signals import Signals

WORKER = Path(__file__).with_name("rank_worker.py")


def launch(out: Path, rank: int, port: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if rank >= 0:
        environment |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    command = [sys.executable, str(WORKER), str(out), str(rank)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def test_two_processes_decide_alike_and_as_one_with_the_whole_batch(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alone = tmp_path / "alone"
    alone.mkdir()
    workers = [launch(tmp_path, rank, port) for rank in (0, 1)] + [launch(alone, -1, port)]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0, 0]

    def read(path: Path) -> dict[str, Any]:
        return json.loads(path.read_text())

    first, second = (read(tmp_path / f"whole-{rank}.json") for rank in (0, 1))
    assert first == second
    one = read(alone / "whole--1.json")
    assert first["tokens"] == one["tokens"]
    np.testing.assert_allclose(first["actions"], one["actions"], atol=1e-4)
    for ours, theirs in zip(first["signals"], one["signals"], strict=True):
        a, b = Signals.from_json(ours), Signals.from_json(theirs)
        assert a.counts.tolist() == b.counts.tolist()
        np.testing.assert_allclose(a.train_loss, b.train_loss, rtol=1e-4)
        np.testing.assert_allclose(a.validation_loss, b.validation_loss, rtol=1e-4)
        np.testing.assert_allclose(a.gradient_norms, b.gradient_norms, rtol=1e-2)
    # Saved in the middle of a decision, resumed by both: the same numbers again.
    for rank in (0, 1):
        resumed = read(tmp_path / f"resumed-{rank}.json")
        assert resumed["actions"] == first["actions"]
        np.testing.assert_allclose(
            [np.ravel(w) for w in resumed["weights"]],
            [np.ravel(w) for w in first["weights"]],
            rtol=1e-5,
        )
