"""A training on two processes that is killed and started again, under ZeRO."""

import json
import os
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from safetensors.torch import load_file

KILLED = Path(__file__).with_name("killed.py")
STEPS = {"epochs": 5, "batch_size": 2, "learning_rate": 1e-3, "save_every": 3, "deepspeed": "zero2"}
pytestmark = pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs the extra `deepspeed`")


def start(case, path):
    """Runs a case in two processes, until both end or the first is gone; gives the exit code of the first."""
    path.write_text(json.dumps([case]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    children = []
    for rank in ("0", "1"):
        environment = {**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"}
        children.append(
            subprocess.Popen(
                [sys.executable, KILLED, path], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        )
    said = children[0].communicate()[1].decode()
    if children[0].returncode != 0:
        children[1].kill()
    other = children[1].communicate()[1].decode()
    return children[0].returncode, said + other


def test_two_processes_go_on_under_zero(saved, folder, tmp_path):
    case = {"model": str(saved["llama"]), "data": str(folder), "tasks": ["qa"], "method": "npo", "train": STEPS}
    case |= {"resume": str(tmp_path / "training"), "out": str(tmp_path / "resumed"), "quiet": False}
    code, said = start({**case, "step": 8}, tmp_path / "killed.json")
    assert code == -signal.SIGKILL, said
    code, said = start(case, tmp_path / "resumed.json")
    assert code == 0, said
    assert "going on from step 6, " in said
    case |= {"resume": str(tmp_path / "other"), "out": str(tmp_path / "whole")}
    code, said = start(case, tmp_path / "whole.json")
    assert code == 0, said
    found, wanted = (load_file(tmp_path / name / "model.safetensors") for name in ("resumed", "whole"))
    assert max(float((found[name] - wanted[name]).abs().max()) for name in wanted) < 1e-6
