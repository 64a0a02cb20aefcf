"""Many heals and cancels through one worker: does memory, or the number of open files, grow?

    python tools/soak.py --requests 1000 --out soak.json

A tiny network, made on the spot, heals one slice of a small head; every third request is cancelled on its way. The
slopes are straight lines fitted to what was sampled after the first fifth, while caches still fill.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
SAMPLES = 50
NETWORK = {
    "class": "PatchedUNet",
    "args": {
        "patch": 2, "channels": [8, 8], "attention_levels": [False, False], "num_res_blocks": 1,
        "num_head_channels": 8, "norm_num_groups": 4,
    },
}  # fmt: skip


def add_network(folder: Path) -> None:
    """A denoiser with random weights, under the name of the shipped one."""
    import torch

    from braindiffusion.models.export import export_model
    from braindiffusion.networks.build import build_network

    torch.manual_seed(0)
    card = {
        "name": "flair-healthy-128", "task": "denoiser", "modality": ["FLAIR"], "network": NETWORK, "prediction": "v",
        "grid": 64, "crop": [56, 48], "range": [0.0, 1.0], "scaling": "brain_median", "licence": "none: random weights",
    }  # fmt: skip
    export_model(folder, card, build_network(NETWORK).state_dict())


def slope(values: list[float], requests: list[int]) -> float:
    """Growth per 1,000 requests of what was sampled after the first fifth."""
    kept = [(n, v) for n, v in zip(requests, values, strict=True) if n >= requests[-1] / 5]
    return float(np.polyfit(*zip(*kept, strict=True), 1)[0]) * 1000 if len(kept) > 1 else 0.0


def soak(requests: int, seed: int = 0, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Send the requests, one after the other; returns counts, samples and slopes."""
    from BrainCounterfactualCommon.worker.client import WorkerClient

    rng = random.Random(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 44, 10)), indexing="ij")
    brain = sum((a / 0.8) ** 2 for a in axes) < 1
    voxels = (400 * brain + np.random.default_rng(0).normal(0, 10, brain.shape) * brain).astype(np.int16)
    mask = np.zeros(brain.shape, bool)
    mask[15:20, 15:20, 5] = True
    scan = {"affine": np.diag([-4.0, 4.0, 12.0, 1.0]).tolist(), "modality": "FLAIR", "name": "soak", "key": "soak"}
    settings = {"steps": 3, "device": "cpu", "precision": "fp32"}
    ended: dict[str, int] = {}
    at: list[int] = []
    rss: list[float] = []
    handles: list[float] = []
    ours: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        add_network(Path(folder))
        environment = {
            **os.environ, "BRAINDIFFUSION_MODELS": folder, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
        }  # fmt: skip
        client = WorkerClient(extraPaths=[ROOT], environment=environment, tempRoot=folder)
        began, first, last = time.monotonic(), None, None
        try:
            for n in range(requests):
                job = client.submit(
                    "heal",
                    {"scan": scan, "settings": {**settings, "seed": n}, "view_slice": 5},
                    {"voxels": voxels, "mask": mask, "brain": brain},
                )
                if n % 3 == 2:
                    until = time.monotonic() + rng.uniform(0.0, 0.08)
                    while time.monotonic() < until and job.isOpen:
                        client.poll()
                        time.sleep(0.002)
                    job.cancel()
                client.waitForIdle(120)
                ended[job.state] = ended.get(job.state, 0) + 1
                if job.error is not None:
                    say(str(job.error))
                first = first or client.processId
                last = client.processId
                if n % max(1, requests // SAMPLES) == 0 or n == requests - 1:
                    process = psutil.Process(last)
                    at.append(n)
                    rss.append(process.memory_info().rss / 1e6)
                    handles.append(_handles(process))
                    ours.append(_handles(psutil.Process()))
                    say(f"{n}: {rss[-1]:.0f} MB, {handles[-1]:.0f} handles")
            left = [p.name for p in Path(folder).glob("BrainCounterfactual-*/*")]
        finally:
            client.stop()
    return {
        "requests": requests, "ended": ended, "seconds": round(time.monotonic() - began, 1),
        "one_worker": first == last, "files_left": left, "at": at, "worker_mb": [round(v, 1) for v in rss],
        "worker_handles": handles, "client_handles": ours,
        "worker_mb_per_1000": round(slope(rss, at), 2), "worker_handles_per_1000": round(slope(handles, at), 2),
        "client_handles_per_1000": round(slope(ours, at), 2),
    }  # fmt: skip


def _handles(process: psutil.Process) -> float:
    return float(process.num_handles() if os.name == "nt" else process.num_fds())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = soak(given.requests, say=print)
    text = json.dumps(found, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")
