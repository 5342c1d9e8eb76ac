"""wheel_contents.py CLONE WHEEL: it holds the tracked files of both packages, and no others."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

clone, wheel = Path(sys.argv[1]), Path(sys.argv[2])
listed = subprocess.run(
    ["git", "-C", str(clone), "ls-files", "mixgym", "agents/mixgym_agents"],
    check=True,
    capture_output=True,
    text=True,
)
wanted = {name.removeprefix("agents/") for name in listed.stdout.splitlines()}
held = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
missing, foreign = sorted(wanted - held), sorted(held - wanted)
if missing or foreign:
    sys.exit(f"{wheel.name} lacks {missing}; it should not hold {foreign}")
print(f"{wheel.name}: {len(held)} files")
