#!/usr/bin/python3
"""Instructions per frame in the engine, counted by valgrind: they do not wobble on a busy machine.

    bench/instructions.py [FLOWS]

Two runs that differ only in how many bursts they send give the cost of a frame by subtraction,
without start and set-up. What remains of the harness is in the row `none`.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
ROUNDS = (1, 11)


def count(binary, directory, *words):
    """Instructions of a run, and the frames it sent."""
    out = f"--callgrind-out-file={directory}/out"
    command = ["valgrind", "--tool=callgrind", out, binary, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1)), int(done.stdout)


def main():
    """Prints a table."""
    flows = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    build = ["cargo", "build", "--quiet", "--release", "--locked", "-p", "weir-bench",
             "--example", "bursts"]
    subprocess.run(build, cwd=REPOSITORY, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    binary = target / "release" / "examples" / "bursts"
    print(f"{'mode':8} instructions per frame, {flows} flows")
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as directory:
        for mode in ("none", "dr", "nat", "tunnel"):
            (few, less), (many, more) = (count(binary, directory, mode, flows, rounds)
                                         for rounds in ROUNDS)
            print(f"{mode:8} {(many - few) / (more - less):.1f}")


if __name__ == "__main__":
    main()
