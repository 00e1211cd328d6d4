"""Models of transformers on the drop-ins of ssm_backends.mamba_ssm, beside their own slow paths."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from ssm_backends.mamba_ssm import stand_in

stand_in()  # before a model is imported, which looks for its functions once

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SMALL = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2}
SMALL |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 64}
MAMBA = {"mamba_d_state": 8, "mamba_dt_rank": 4}
MAMBA2 = {
    "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_chunk_size": 8,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "mamba": {"state_size": 8},
    "falcon_mamba": {"state_size": 8},
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 2, "state_size": 8, "chunk_size": 8},
    "jamba": HEADS | MAMBA | {"num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1},
    "bamba": HEADS | MAMBA2 | {"attn_layer_indices": [1]},
    "falcon_h1": HEADS | MAMBA2 | {"mamba_d_ssm": 64},
    "granitemoehybrid": HEADS | MAMBA2
    | {"num_local_experts": 2, "shared_intermediate_size": 32, "layer_types": ["mamba", "attention"]}
    | {"num_experts_per_tok": 1},
    "nemotron_h": HEADS | {"head_dim": 16, "mamba_num_heads": 4, "mamba_head_dim": 16, "n_groups": 1}
    | {"ssm_state_size": 8, "chunk_size": 8, "layers_block_type": ["mamba", "attention"]},
    "zamba": HEADS | MAMBA | {"num_key_value_heads": 2, "n_mamba_heads": 2, "num_hidden_layers": 5}
    | {"layers_block_type": ["mamba", "mamba", "hybrid", "mamba", "hybrid"]},
    "zamba2": HEADS | {"n_mamba_heads": 4, "mamba_headdim": 16, "mamba_d_state": 8, "mamba_ngroups": 1}
    | {"chunk_size": 8, "layers_block_type": ["mamba", "hybrid"], "adapter_rank": 4, "num_mem_blocks": 1},
}  # fmt: skip
FUNCTIONS = (
    "causal_conv1d_fn", "causal_conv1d_update", "mamba_inner_fn", "mamba_selective_scan",
    "mamba_selective_state_update", "mamba2_chunk_scan", "mamba2_selective_state_update",
    "mamba2_split_conv1d_scan_combined",
)  # fmt: skip
ROUNDINGS = 200 * 2**-24
"""Two orders of the same float32 sums, two layers deep; a wrong term is some thousand times that."""


def model_of(kind: str, **changed: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SMALL | MODELS[kind] | changed)
    return AutoModelForCausalLM.from_config(config).to(DEVICE)


def tokens(length: int = 21) -> torch.Tensor:
    return torch.randint(3, 64, (2, length), generator=torch.Generator().manual_seed(1)).to(DEVICE)


@contextmanager
def slow_paths(model: Any) -> Iterator[int]:
    """The model on what transformers computes where neither package is installed; how many were exchanged."""
    module = sys.modules[type(model).__module__]
    found = {name: vars(module)[name] for name in FUNCTIONS if name in vars(module)}
    for name, function in found.items():
        setattr(module, name, function.__wrapped__)
    yield len(found)
    for name, function in found.items():
        setattr(module, name, function)


def apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference, over the largest element; by itself where all are zero."""
    return ((found - wanted).abs().max() / (wanted.abs().max().item() or 1.0)).item()


@pytest.mark.parametrize("kind", MODELS)
def test_logits_and_generated_tokens_are_those_of_the_slow_path(kind: str) -> None:
    model, ids = model_of(kind).eval(), tokens()
    mask = torch.ones_like(ids)
    mask[0, :5] = 0  # padded on the left

    def answers() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            logits = model(ids, attention_mask=mask).logits
        more = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False}
        return logits, model.generate(ids, attention_mask=mask, **more)

    logits, generated = answers()
    with slow_paths(model) as exchanged:
        wanted, wanted_generated = answers()
    assert exchanged >= 4
    assert apart(logits, wanted) < ROUNDINGS
    assert torch.equal(generated, wanted_generated)


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "falcon_mamba"])
def test_gradients_are_those_of_the_slow_path(kind: str) -> None:
    model, ids = model_of(kind).train(), tokens()

    def answers() -> list[torch.Tensor]:
        model.zero_grad()
        out = model(ids, labels=ids, use_cache=False)
        out.loss.backward()
        return [out.logits.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]

    found = answers()
    with slow_paths(model):
        wanted = answers()
    assert all(x < ROUNDINGS for x in map(apart, found, wanted))


def test_falcon_mamba_trains_on_mamba_ssms_norm_of_the_step_which_its_slow_path_takes_earlier() -> None:
    """If transformers makes them one, the test above has a model more, and the docs a sentence less."""
    model, ids = model_of("falcon_mamba").train(), tokens()
    fused = model(ids, use_cache=False).logits
    with slow_paths(model):
        slow = model(ids, use_cache=False).logits
    assert apart(fused, slow) > 1000 * ROUNDINGS


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("bamba", {"attn_layer_indices": []}),
        ("granitemoehybrid", {"layer_types": ["mamba", "mamba"]}),
        ("nemotron_h", {"layers_block_type": ["mamba", "mamba"]}),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_packed_sequences_are_kept_apart(kind: str, changed: dict[str, Any], training: bool) -> None:
    model, ids = model_of(kind, **changed).train(training), tokens()[:1]
    packed = torch.tensor([[0] * 9 + [1] * 12], dtype=torch.int32, device=DEVICE)
    with torch.no_grad():
        found = model(ids, seq_idx=packed, use_cache=False).logits
        alone = torch.cat([model(part, use_cache=False).logits for part in (ids[:, :9], ids[:, 9:])], 1)
        with slow_paths(model):
            across = model(ids, seq_idx=packed, use_cache=False).logits
    assert apart(found, alone) < ROUNDINGS
    assert apart(across, alone) > 1000 * ROUNDINGS


@pytest.mark.parametrize("kind", ["mamba", "mamba2"])
def test_bfloat16_generates_and_trains(kind: str) -> None:
    model, ids = model_of(kind).bfloat16(), tokens()
    wide = model_of(kind).eval()
    with torch.no_grad():
        wanted, found = wide(ids).logits, model.eval()(ids).logits
    # Weights of 8 bits, through two layers.
    assert apart(found.float(), wanted) < 2**-4
    assert model.generate(ids, max_new_tokens=3, min_new_tokens=3).shape == (2, 24)
    model.train()(ids, labels=ids, use_cache=False).loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def run_of_the_docs(*left_out: str) -> subprocess.CompletedProcess[str]:
    """The snippet of the page on transformers, without some of its words, in a process of its own."""
    page = (Path(__file__).resolve().parents[3] / "front-door.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```py\n(.*?)```", page, re.DOTALL)
    for words in left_out:
        assert words in snippet
        snippet = snippet.replace(words, "")
    return subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, check=False)


def test_the_snippet_of_the_docs_runs_and_nothing_falls_back() -> None:
    run = run_of_the_docs()
    assert run.returncode == 0, run.stderr
    assert "falling back to its reference PyTorch implementation" not in run.stderr
    without = run_of_the_docs("stand_in()")
    assert "falling back to its reference PyTorch implementation" in without.stderr
