"""The kernels of Mamba-2's scan as a GPU gets them: compiled without one, from the launches of a call."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssm_triton._lanes import SHARED_BYTES

from .apart import printed

# For the capability and the call named in its arguments: what each launch of both passes compiles to.
COMPILE = r"""
import json, re, sys
from dataclasses import replace
from math import inf

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from ssm_triton._dual_call import Dual
from ssm_triton._launch_dual import run_forward
from ssm_triton._launch_dual_backward import run_backward

POINTERS = {torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.int32: "*i32"}
OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion")


def launch(kernel, *arguments, **named):
    options = {name: named.pop(name) for name in OPTIONS if name in named}
    given = dict(zip(kernel.arg_names, arguments)) | named
    signature, constants, known = {}, {}, {}
    for k, parameter in enumerate(kernel.params):
        value = given[parameter.name]
        whole = isinstance(value, int) and not parameter.do_not_specialize
        if parameter.is_constexpr or value is None or whole and value == 1:
            signature[parameter.name], constants[(k,)] = "constexpr", value
            continue
        pointer = isinstance(value, torch.Tensor)
        signature[parameter.name] = POINTERS[value.dtype] if pointer else "i32"
        if pointer or whole and value % 16 == 0:
            known[(k,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, known)
    built = triton.compile(source, target=GPUTarget("cuda", CAPABILITY, 32), options=options)
    ptx = built.asm["ptx"]
    print(json.dumps({
        "kernel": kernel.__name__,
        "shared": built.metadata.shared,
        "atomics": bool(re.search(r"\b(atom|red)[.]", ptx)),
        "products": sorted(set(re.findall(r"mma[.\w]*?[.](?:f32|bf16)[.](\w+)[.]\w+", ptx))),
    }))


JITFunction.__getitem__ = lambda kernel, grid: lambda *given, **named: launch(kernel, *given, **named)


def draw(*size, kind=torch.bfloat16):
    return torch.empty(size, dtype=kind, device="meta")


b, l, h, p, g, n = 2, 200, 16, 64, 2, 128
rates = draw(h, kind=torch.float32)
call = Dual(
    x=draw(b, l, h, p), dt=draw(b, l, h), A=rates, B=draw(b, l, g, n), C=draw(b, l, g, n), D=rates,
    z=draw(b, l, h, p), dt_bias=rates, initial_states=None, seq_idx=None, softplus=True, low=0.0, high=inf,
)
if sys.argv[2] == "packed":
    call = replace(call, seq_idx=draw(b, l, kind=torch.int32))
CAPABILITY = int(sys.argv[1])
y, _ = run_forward(call)
run_backward(call, y, None)
"""

FORWARD = [
    "prepare_steps",
    "pass_states",
    "forward_chunks",
]  # of two segments: what the first tells, and both
STATES = ["prepare_steps", *["pass_states"] * 4]  # before the chunks, and their cotangents after them
BACKWARD = ["backward_inputs", "backward_weights", "backward_matrices", "backward_decays", "outputs"]
KERNELS = [*FORWARD, *STATES, *BACKWARD]


@pytest.mark.parametrize(("capability", "call"), [("80", "packed"), ("90", "plain"), ("90", "packed")])
def test_products_are_of_bfloat16_and_nothing_is_left_to_atomics(
    capability: str, call: str, tmp_path: Path
) -> None:
    """A product in TF32 would round: a float32 has to be taken apart first."""
    built = printed(COMPILE, tmp_path, capability, call)
    assert [kernel["kernel"] for kernel in built] == KERNELS
    assert all(kernel["shared"] <= SHARED_BYTES and not kernel["atomics"] for kernel in built)
    without = ("prepare_steps", "backward_decays")
    assert all(kernel["products"] == ["bf16"] * (kernel["kernel"] not in without) for kernel in built), built
