"""How long a whole `compute` of published logs takes, the start of the interpreter included."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

DATA = Path(os.environ.get("UNLEARN_DATA", Path(__file__).parents[3] / "shared" / "data"))
LOGS = DATA / "openunlearning-logs"


@pytest.mark.skipif(not LOGS.is_dir(), reason=f"no published logs in {DATA}; UNLEARN_DATA names their folder")
def test_compute_of_an_openunlearning_log() -> None:
    full, retrained = (LOGS / f"tofu_Llama-3.2-1B-Instruct_{name}" for name in ("full", "retain90"))
    command = [sys.executable, "-m", "unlearn_metrics.cli", "compute", str(full), "--retrained", str(retrained)]
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([*command, "--json"], check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    print(f"\nunlearn-metrics compute of a forget10 log with its retrained log: {min(taken):.2f} s")
    assert min(taken) < 15
