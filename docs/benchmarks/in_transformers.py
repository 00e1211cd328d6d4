"""Models of transformers on the drop-ins of ssm_backends.mamba_ssm, beside their own slow paths.

python docs/benchmarks/in_transformers.py OUT.json [--threads N] [--repeats K] [--device cuda]

Where transformers is installed, and mamba-ssm is not. Random weights, 4 layers of d_model 768, batch 1. Both
are measured in turns, and a figure is a median; a backward pass of Mamba's slow path takes so long (minutes)
that it is measured once. With one thread the clock is that of the process, so that what else the machine does
counts little.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import torch

from ssm_backends.mamba_ssm import stand_in
from ssm_conformance.engine.environment import environment, version_of

stand_in()  # before a model is imported, which looks for its functions once

LENGTH = 512
STEPS = 32
MODELS: dict[str, dict[str, Any]] = {
    "mamba": {},
    "mamba2": {"num_heads": 24, "head_dim": 64, "n_groups": 1, "state_size": 128},
}
FUNCTIONS = (
    "causal_conv1d_fn", "causal_conv1d_update", "mamba_inner_fn", "mamba_selective_scan",
    "mamba_selective_state_update", "mamba2_chunk_scan", "mamba2_selective_state_update",
    "mamba2_split_conv1d_scan_combined",
)  # fmt: skip


def model_of(kind: str, device: str) -> Any:
    """A language model of random weights."""
    from transformers import AutoConfig, AutoModelForCausalLM, logging

    logging.set_verbosity_error()
    torch.manual_seed(0)
    sizes = {"vocab_size": 256, "hidden_size": 768, "num_hidden_layers": 4}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = AutoConfig.for_model(kind, **sizes, **special, **MODELS[kind])
    return AutoModelForCausalLM.from_config(config).to(device)


@contextmanager
def slow_paths(model: Any) -> Iterator[None]:
    """The model on what transformers computes where neither package is installed."""
    module = sys.modules[type(model).__module__]
    found = {name: vars(module)[name] for name in FUNCTIONS if name in vars(module)}
    for name, function in found.items():
        setattr(module, name, function.__wrapped__)
    yield
    for name, function in found.items():
        setattr(module, name, function)


def tasks_of(model: Any) -> dict[str, Callable[[], float]]:
    """What is measured: each returns its seconds."""
    ids = torch.randint(3, 256, (1, LENGTH), generator=torch.Generator().manual_seed(1)).to(model.device)

    @torch.no_grad()
    def forward() -> float:
        model.eval()
        return _seconds(lambda: model(ids, use_cache=False))

    def training() -> float:
        model.train()
        model.zero_grad()
        return _seconds(lambda: model(ids, labels=ids, use_cache=False).loss.backward())

    @torch.no_grad()
    def token() -> float:
        model.eval()
        cache = model(ids[:, :16], use_cache=True).cache
        return (
            _seconds(lambda: [model(ids[:, :1], cache=cache, use_cache=True) for _ in range(STEPS)]) / STEPS
        )

    return {"forward": forward, "forward and backward": training, "one more token": token}


def _seconds(call: Callable[[], Any]) -> float:
    on_gpu = torch.cuda.is_initialized()
    clock = process_time if torch.get_num_threads() == 1 and not on_gpu else perf_counter
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    wait()
    start = clock()
    call()
    wait()
    return clock() - start


def rows(kind: str, repeats: int, device: str) -> Iterator[dict[str, Any]]:
    """A row a task of one model: every measurement of both, in seconds."""
    model = model_of(kind, device)
    for name, task in tasks_of(model).items():
        once = kind == "mamba" and name == "forward and backward"
        found: dict[str, list[float]] = {"slow path": [], "drop-ins": []}
        task()
        for turn in range(repeats):
            if turn == 0 or not once:
                with slow_paths(model):
                    found["slow path"].append(task())
            found["drop-ins"].append(task())
        medians = {who: median(seconds) for who, seconds in found.items()}
        yield {"model": kind, "task": name, "median_s": medians, "seconds": found}


def main(arguments: Sequence[str]) -> None:
    """Run it, and keep what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    made_of = environment("transformers")
    made_of["versions"]["llvmlite"] = version_of("llvmlite")  # with which the scan is compiled
    asked = f"--threads {options.threads}" if options.device == "cpu" else "--device cuda"
    data = {
        "schema": 1,
        "command": f"python docs/benchmarks/in_transformers.py OUT.json {asked}",
        "environment": made_of,
        "length": LENGTH,
        "rows": [row for kind in MODELS for row in rows(kind, options.repeats, options.device)],
    }
    options.out.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
