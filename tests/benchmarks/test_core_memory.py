"""Peak memory of the loss of a large vocabulary: `linear_token_logps` against the path through all logits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

VOCABULARY, WIDTH = 128_000, 256
PLAIN_COPIES = 4  # of the float32 logits that the plain path holds at its worst, and room for the rest
FULL, SMALL = 32_000, 2_000

MEASURE = """
import sys, torch
from unlearn_core.losses import linear_token_logps, token_logps

path, tokens, vocabulary, width, out = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
torch.manual_seed(0)
hidden, weight = torch.randn(1, tokens + 1, width) / width**0.5, torch.randn(vocabulary, width)
labels = torch.randint(vocabulary, (1, tokens + 1))
hidden.requires_grad_(), weight.requires_grad_()
small = slice(0, 2), slice(0, 8)  # so that what torch loads at its first use is not counted
linear_token_logps(hidden[:, small[1]], weight[small[0]], labels[:, small[1]] % 2, chunk=2).sum().backward()
hidden.grad = weight.grad = None

def memory(name):  # `getrusage` would count what the parent held
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


open("/proc/self/clear_refs", "w").write("5")  # VmHWM begins anew
before = memory("VmRSS")
logps = (
    linear_token_logps(hidden, weight, labels, chunk=max(1, tokens // 64))
    if path == "linear"
    else token_logps(hidden @ weight.T, labels)
)
(-logps.mean()).backward()
peak = memory("VmHWM")
torch.save([logps.detach(), hidden.grad, weight.grad], out)
print(peak - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads memory as Linux tells it")
def test_peak_memory_is_an_eighth_of_the_plain_path_and_the_numbers_are_the_same(tmp_path: Path) -> None:
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    tokens = FULL if available > PLAIN_COPIES * 4 * FULL * VOCABULARY else SMALL
    peaks, found = {}, {}
    for path in ("plain", "linear"):
        out = tmp_path / path
        command = [sys.executable, "-c", MEASURE, path, str(tokens), str(VOCABULARY), str(WIDTH), str(out)]
        peaks[path] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        found[path] = torch.load(out, weights_only=True)
    print(
        f"\n{tokens:,} tokens x {VOCABULARY:,} vocabulary x hidden {WIDTH}: plain {peaks['plain'] / 2**20:,.0f} MiB, "
        f"linear {peaks['linear'] / 2**20:,.0f} MiB, {peaks['plain'] / peaks['linear']:.1f} times less"
    )
    for ours, plain in zip(found["linear"], found["plain"], strict=True):
        assert (ours - plain).abs().max() <= 1e-5 * plain.abs().max()
    assert peaks["linear"] <= peaks["plain"] / 8
