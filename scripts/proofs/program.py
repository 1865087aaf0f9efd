"""The program under test, and how it is run."""

import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent.parent
POUCH = Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target")).resolve() / "release/pouch"


def run(*words):
    """Runs a command to its end. Returns its exit code and the output of both streams."""
    done = subprocess.run([str(word) for word in words], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, timeout=120)
    return done.returncode, done.stdout + done.stderr
