from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_study import RUN, TINY, quiet, request_of, spoil, stamps

from mixgym.compare.study import read_study, run_study
from mixgym.experiment.pool import Event, run_pool
from mixgym.experiment.run_worker import run_job


def test_a_worker_that_dies_is_replaced_once(study_copy: Path, tmp_path: Path) -> None:
    request = request_of(study_copy / RUN)
    killed: list[int] = []
    kinds: list[str] = []

    def on_event(event: Event) -> None:
        kinds.append(event.kind)
        if event.kind == "started" and not killed:
            for process in children(os.getpid()):
                os.kill(process, signal.SIGKILL)
                killed.append(process)

    assert run_pool([run_job(request, tmp_path / "run", 0)], 1, on_event) == []
    assert killed and kinds.count("retried") == 1 and kinds[-1] == "finished"
    assert (tmp_path / "run" / "result.json").exists()


def test_a_run_that_raises_is_reported_and_the_others_go_on(
    study_copy: Path, tmp_path: Path
) -> None:
    good = request_of(study_copy / RUN)
    bad = request_of(study_copy / RUN, corpus_hash="0" * 64)
    jobs = [run_job(bad, tmp_path / "bad", 0), run_job(good, tmp_path / "good", 0)]
    failures = run_pool(jobs, 1, lambda event: None)
    assert [failure.job for failure in failures] == jobs[:1]
    assert "corpus" in failures[0].error
    assert (tmp_path / "good" / "result.json").exists()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_comparison_goes_on_where_it_was(sent: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [f"--env-arg={key}={json.dumps(value)}" for key, value in TINY.items()]
    line = [
        sys.executable,
        "-m",
        "mixgym.commands.main",
        "compare",
        "NanoPretrain-v0",
        "--agent=natural",
    ]
    line += ["--agent=uniform", "--seeds=20", "--workers=1", f"--out={out}", *arguments]
    process = subprocess.Popen(
        line,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Tests that a shell runs in the background inherit that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    workers: list[int] = []
    deadline = time.monotonic() + 300
    while not stamps(out) and time.monotonic() < deadline and process.poll() is None:
        workers = children(process.pid) or workers
        time.sleep(0.2)
    process.send_signal(sent)
    _, messages = process.communicate(timeout=120)
    before = stamps(out)
    assert workers and 1 <= len(before) < 40, messages
    if sent == signal.SIGINT:
        assert process.returncode == 130 and "--resume" in messages
    gone = time.monotonic() + 20
    while any(alive(worker) for worker in workers) and time.monotonic() < gone:
        time.sleep(0.05)
    assert not any(alive(worker) for worker in workers)
    before = stamps(out)
    # Fewer seeds need no more time than the test has: only what is planned in config.json runs.
    done = len(before) // 2 + 1
    spoil(out / "config.json", seeds=list(range(done)))
    stored = read_study(out).unbound()
    run_study(stored, out, workers=1, resume=True, keep_reference=True, console=quiet())
    after = stamps(out)
    assert len(after) >= 2 * done and (out / "report.html").exists()
    assert all(after[path] == stamp for path, stamp in before.items())


def children(parent: int) -> list[int]:
    """Worker processes started by `parent`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            line = (stat.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == parent and "mixgym.experiment.worker" in line and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def alive(process: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
