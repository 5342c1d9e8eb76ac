"""Overhead of the environment against a bare transformers loop, and scaling over processes.

    python benchmarks/overhead.py                 # all parts, a few minutes on a quiet machine
    python benchmarks/overhead.py --parts steps   # time per LM step only

Parts:
  steps      LM steps inside the environment (uniform mixture, signals on, evaluation accounted
             separately) against a bare loop on the same model, batches and threads. The two
             alternate step by step within one process; the figure is the quotient of their times.
  memory     peak resident memory of a process that runs five decisions and the final report
             against that of a plain transformers script on as many batches of the same text, which
             imports nothing of mixgym and evaluates nothing.
  processes  episodes per second of two worker processes against one.
  import     seconds of `import mixgym`, and whether torch came with it.
  episode    seconds of one whole episode of each environment, evaluation included.
  alignment  a run at the micro preset that measures the domains' gradients on every step, and on
             every 10th, against a bare loop; `own` is what they add to a run without them.
  mixers     micro steps under doge-online and acodm (learning online) and of DoReMi's proxy.
  sizes      gradients on every step from the micro preset to 100 million parameters (minutes);
             `ratio_of_decisions` is that of decisions of 40 steps.
  batched    seconds of 2, 8 and 32 runs that train as a batch against those of processes that train
             them one by one, on the same cores.

Run it on an otherwise idle machine; every figure is a ratio within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from beside import ENVIRONMENTS, STEPS_PER_ROUND, measure
from crew import crew_seconds
from overhead_batched import NUMBERS, batched
from overhead_gradients import ALIGNMENT, SIZES, agent, alignment, doremi_proxy
from tables import replace_rows

from mixgym.lm.settings import gpt_neox

OUT = Path(__file__).parent / "results" / "overhead"
#: Figures measured again replace all those of the same part and subject.
KEY = ("part", "subject")


def steps(env_id: str, rounds: int, **arguments: Any) -> dict[str, Any]:
    """Alternate the environment's LM steps with bare steps on the same batches, one by one."""
    import gymnasium as gym
    import numpy as np

    import mixgym  # noqa: F401

    env: Any = gym.make(
        env_id,
        action_map="simplex",
        decisions=rounds + 1,
        steps_per_decision=STEPS_PER_ROUND,
        disable_env_checker=True,
        **arguments,
    ).unwrapped
    env.reset(seed=0)
    uniform = np.full(env.task.K, 1 / env.task.K, dtype=np.float32)

    def decision() -> float:
        paid = env.ledger.accounts["reward"].seconds
        env.step(uniform)
        return env.ledger.accounts["reward"].seconds - paid

    return measure(env.run, decision, rounds)


# VmHWM, not getrusage: the latter's peak is inherited from the process that started this one.
ENVIRONMENT_MEMORY = """
import json, sys
import gymnasium as gym, numpy as np, mixgym
arguments = json.loads(sys.argv[2])
env = gym.make(sys.argv[1], action_map="simplex", disable_env_checker=True, **arguments).unwrapped
uniform = np.full(env.task.K, 1 / env.task.K, dtype=np.float32)
env.reset(seed=0)
for _ in range(5):
    env.step(uniform)
env.report("test")
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""

# Nothing of mixgym: what a user's own script would import and hold.
BARE_MEMORY = """
import json, sys
import numpy as np, torch
from transformers import AutoConfig, AutoModelForCausalLM
config, batches = json.loads(sys.argv[1]), np.load(sys.argv[2], mmap_mode="r")
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
for batch in batches:
    windows = torch.from_numpy(batch.astype(np.int64))
    targets = windows[:, 1:].contiguous()
    loss = model(input_ids=windows[:, :-1], labels=targets, shift_labels=targets).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def memory(env_id: str, **arguments: Any) -> dict[str, Any]:
    """Compare the peak resident memory of two fresh processes."""
    import gymnasium as gym
    import numpy as np

    import mixgym  # noqa: F401
    from mixgym.lm.models import model_config
    from mixgym.lm.stream import MixtureStream

    env: Any = gym.make(env_id, disable_env_checker=True).unwrapped
    a, settings = env.arguments, env.settings
    stream = MixtureStream(env.corpus, settings.batch_size, settings.context, 0)
    batches = stream.batches(env.task.natural, 5 * a.steps_per_decision)
    config = model_config(a.model, env.corpus.tokenizer.vocab_size, settings.context).to_diff_dict()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "batches.npy"
        np.save(file, np.stack([batch.tokens for batch in batches]).astype(np.uint16))
        peaks = [
            _peak_mebibytes(ENVIRONMENT_MEMORY, env_id, json.dumps(arguments)),
            _peak_mebibytes(BARE_MEMORY, json.dumps(config), str(file)),
        ]
    return {
        "environment_MiB": peaks[0],
        "bare_MiB": peaks[1],
        "ratio": peaks[0] / peaks[1],
    }


def _peak_mebibytes(code: str, *arguments: str) -> float:
    output = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ).stdout
    return int(output.split()[-1]) / 1024


def processes(env_id: str, episodes: int) -> dict[str, Any]:
    """Compare the time of one worker running `episodes` episodes with two running them each."""
    work = (env_id, str(episodes))
    one, two = [], []
    for _ in range(3):
        one.append(crew_seconds(WORKER, [work]))
        two.append(crew_seconds(WORKER, [work, work]))
    rates = [2 * a / b for a, b in zip(one, two, strict=True)]
    return {"one_s": median(one), "two_s": median(two), "episodes_ratio": median(rates)}


WORKER = """
import sys, time
import gymnasium as gym, numpy as np, mixgym
env = gym.make(sys.argv[1], disable_env_checker=True)
env.reset(seed=0)
env.step(np.zeros(env.action_space.shape, np.float32))
print("ready", flush=True)
sys.stdin.readline()
for seed in range(int(sys.argv[2])):
    env.reset(seed=seed)
    done = False
    while not done:
        done = env.step(np.zeros(env.action_space.shape, np.float32))[2]
print("done", flush=True)
"""


def import_seconds() -> dict[str, Any]:
    """Time `import mixgym` in fresh processes."""
    code = "import time; t = time.perf_counter(); import mixgym, sys; "
    code += "print(time.perf_counter() - t, 'torch' in sys.modules)"
    seconds, torch_loaded = [], False
    for _ in range(7):
        output = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.split()
        seconds.append(float(output[0]))
        torch_loaded |= output[1] == "True"
    return {"median_s": median(seconds[1:]), "torch_loaded": torch_loaded}


def episode(env_id: str) -> dict[str, Any]:
    """Time one whole episode, evaluations and the final report included."""
    import gymnasium as gym
    import numpy as np

    import mixgym  # noqa: F401

    env: Any = gym.make(env_id, disable_env_checker=True)
    start = time.perf_counter()
    env.reset(seed=0)
    done = False
    while not done:
        done = env.step(np.zeros(env.action_space.shape, np.float32))[2]
    episode_seconds = time.perf_counter() - start
    env.unwrapped.report("test")
    accounts = env.unwrapped.ledger.accounts
    return {
        "episode_s": episode_seconds,
        "train_s": accounts["train"].seconds,
        "reward_s": accounts["reward"].seconds,
        "report_s": accounts["evaluation"].seconds,
        "tokens_per_step": env.unwrapped.settings.batch_size * env.unwrapped.settings.context,
    }


CONTINUAL = {"continual": "mixgym/MicroContinual-v0", "continual52": "mixgym/MicroContinual52-v0"}

#: part and figure -> (limit, whether it is a lower bound), as the project promises them.
LIMITS: dict[tuple[str, str, str], tuple[float, bool]] = {
    ("import", "mixgym", "median_s"): (0.3, False),
    ("steps", "nano", "ratio"): (1.03, False),
    ("steps", "micro", "ratio"): (1.03, False),
    ("memory", "nano", "ratio"): (1.05, False),
    ("memory", "micro", "ratio"): (1.05, False),
    ("memory", "target", "ratio"): (1.05, False),
    ("processes", "nano", "episodes_ratio"): (1.8, True),
    ("memory", "alignment", "ratio"): (1.05, False),
    ("alignment", "every-step", "ratio"): (1.05, False),
    ("alignment", "every-10th", "ratio"): (1.01, False),
    ("alignment", "every-10th", "own"): (1.01, False),
    ("mixers", "doge-online", "ratio"): (1.08, False),
    ("mixers", "doremi-proxy", "ratio"): (1.4, False),
    ("episode", "nano", "episode_s"): (6.0, False),
    ("episode", "micro", "episode_s"): (90.0, False),
    ("episode", "target", "episode_s"): (90.0, False),
}


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for each promised limit among the measured rows."""
    lines = []
    for row in rows:
        key = (row["part"], row["subject"], row["figure"])
        if key in LIMITS:
            limit, lower = LIMITS[key]
            held = row["value"] >= limit if lower else row["value"] <= limit
            sign = ">=" if lower else "<="
            lines.append(
                f"{'holds' if held else 'MISSED':7} {' '.join(key)}: {row['value']:.3f} "
                f"({sign} {limit:g})"
            )
    return lines


def main() -> None:
    """Measure the chosen parts, print them, and write overhead.csv."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    everything = ["import", "steps", "memory", "processes", "episode"]
    everything += ["alignment", "mixers", "sizes", "batched"]
    parser.add_argument("--parts", nargs="*", choices=everything, default=everything)
    parser.add_argument("--rounds", type=int, default=40, help="paired rounds of part `steps`")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []

    def add(part: str, subject: str, figures: dict[str, Any]) -> None:
        for name, value in figures.items():
            rows.append({"part": part, "subject": subject, "figure": name, "value": value})
        rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
        print(f"{part:10} {subject:8} {json.dumps(rounded)}", flush=True)
        replace_rows(options.out / "overhead.csv", rows, KEY, (*KEY, "figure", "value"))

    if "import" in options.parts:
        add("import", "mixgym", import_seconds())
    for name, env_id in ENVIRONMENTS.items():
        if "steps" in options.parts and not name.startswith("target"):
            add("steps", name, steps(env_id, options.rounds))
        if "memory" in options.parts:
            add("memory", name, memory(env_id))
    if "memory" in options.parts:
        add("memory", "alignment", memory(ENVIRONMENTS["micro"], **ALIGNMENT))
    if "processes" in options.parts:
        add("processes", "nano", processes(ENVIRONMENTS["nano"], 3))
    if "episode" in options.parts:
        for name, env_id in {**ENVIRONMENTS, **CONTINUAL}.items():
            add("episode", name, episode(env_id))
    if "alignment" in options.parts:
        plain = alignment(None, options.rounds)
        for subject, every in (("every-step", 1), ("every-10th", 10)):
            figures = alignment(every, options.rounds)
            add("alignment", subject, {**figures, "own": figures["ratio"] / plain["ratio"]})
    if "mixers" in options.parts:
        add("mixers", "doge-online", agent("doge-online", options.rounds))
        add("mixers", "doremi-proxy", doremi_proxy(options.rounds))
        add("mixers", "acodm", agent("acodm", options.rounds))
    if "sizes" in options.parts:
        for width, layers, heads, rounds, number in SIZES:
            model = gpt_neox(width, layers, heads)
            add("sizes", f"d{width}-L{layers}", alignment(1, rounds, model, number))
    if "batched" in options.parts:
        for name, N in product(("nano", "micro"), NUMBERS):
            add("batched", f"{name}-{N}", batched(name, N, workers=min(2, os.cpu_count() or 1)))
    print("\n".join(verdicts(rows)))


if __name__ == "__main__":
    main()
