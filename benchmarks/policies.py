"""Learn the policies that a suite drives runs with: one `mixgym train` each, several at a time.

python benchmarks/policies.py benchmarks/suites/hds-policies.yml --workers 2
python benchmarks/policies.py benchmarks/suites/hds-policies.yml --show     # only the commands

The file names the folder, the seed, the episodes, and for each environment its arguments and the
agents; one with `datasets` and `steps` learns offline, from what `mixgym collect` wrote. Policies
are resumed where they stopped; finished ones are left alone.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import yaml
from rich.progress import track


def flow(value: Any) -> str:
    """One line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**9)
    return text.removesuffix("\n").removesuffix("\n...")


def commands(plan: dict[str, Any]) -> Iterator[tuple[Path, int, list[str]]]:
    """Yield each policy's folder, its episodes or steps, and the command that learns it."""
    for group in plan["environments"]:
        for arm in group["agents"]:
            agent = arm["agent"]
            if arm.get("arguments"):
                agent += f":{flow(arm['arguments'])}"
            out = Path(plan["out"]) / group["env"] / arm["label"]
            command = ["mixgym", "train", agent]
            if datasets := arm.get("datasets"):
                length = arm["steps"]
                command += [x for dataset in datasets for x in ("--dataset", dataset)]
                command += ["--steps", str(length)]
            else:
                length = arm.get("episodes", plan["episodes"])
                command += ["--env", group["env"]]
                for name, value in group.get("env_arguments", {}).items():
                    command += ["--env-arg", f"{name}={flow(value)}"]
                command += ["--episodes", str(length)]
            yield out, length, [*command, "--seed", str(plan["seed"]), "--out", str(out)]


def learned(out: Path) -> int:
    """Episodes, or offline steps, that the policy in `out` has learned."""
    path = out / "cost.json"
    if not path.exists():
        return 0
    cost = json.loads(path.read_text())
    return cost["steps"] if "steps" in cost else cost["episodes"]


def learn(out: Path, command: list[str]) -> None:
    """Run a command, in `out`'s log; raise `RuntimeError` with the log's end if it fails."""
    if (out / "config.json").exists():
        command = [*command, "--resume"]
    out.parent.mkdir(parents=True, exist_ok=True)
    log = out.with_name(out.name + ".log")
    with log.open("w") as file:
        launched = [str(Path(sys.executable).with_name(command[0])), *command[1:]]
        code = subprocess.run(launched, stdout=file, stderr=subprocess.STDOUT).returncode
    if code:
        raise RuntimeError(f"{out}: exit code {code}\n{log.read_text()[-2000:]}")
    log.unlink()


def main() -> None:
    """Learn what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plan", type=Path)
    parser.add_argument("--workers", type=int, default=1, help="policies at a time")
    parser.add_argument(
        "--only", nargs="*", help="texts of which a policy's folder must contain one"
    )
    parser.add_argument("--show", action="store_true", help="print the commands, run nothing")
    options = parser.parse_args()
    wanted = [
        (out, command)
        for out, length, command in commands(yaml.safe_load(options.plan.read_text()))
        if learned(out) < length
        and (not options.only or any(text in str(out) for text in options.only))
    ]
    if options.show:
        for _, command in wanted:
            print(shlex.join(command))
        return
    with ThreadPoolExecutor(options.workers) as pool:
        running = [pool.submit(learn, out, command) for out, command in wanted]
        for future in track(as_completed(running), "policies", total=len(running)):
            future.result()


if __name__ == "__main__":
    main()
