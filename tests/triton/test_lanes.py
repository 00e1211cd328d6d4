"""The kernels in Gluon: compiled without a GPU, and on one compared with their plain twins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ssm_triton import selective_scan
from ssm_triton._inputs import Inputs
from ssm_triton._lanes import FIRST_TRITON, SHARED_BYTES, can_be_copied, lanes_fit, triton_version
from ssm_triton._lanes_plan import ForwardFew, ForwardLanes, LanesPlan
from ssm_triton._launch import run_forward
from ssm_triton._launch_backward import run_backward
from ssm_triton._plan import backward_plan, forward_plan, saved_every

from .apart import printed
from .problems import problem, verdict

OLD = triton_version() < FIRST_TRITON

# For the capability and the pass named in its arguments: what the kernels need, and whether a sum is left to
# atomics or registers to memory (bytes of a lane).
# Before 9.0 fewer tilings: of each kernel chained or not, of a segment alone or not, copied or not.
COMPILE = r"""
import json, re, subprocess, sys, tempfile
from pathlib import Path
import triton
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.experimental.gluon._runtime import GluonASTSource
from ssm_triton._few_forward import forward_few
from ssm_triton._lanes_backward import backward_lanes
from ssm_triton._lanes_forward import forward_lanes
from ssm_triton._lanes_messages import messages_lanes

floats = "A D bias initial last saved decay local message messages dlast dB dC dA dD dbias dinitial".split()
streams = "u delta B C z y dy du ddelta dz".split()
integers = "turns words row_of".split()
kinds = {name: "*fp32" for name in floats} | {name: "*bf16" for name in streams}
kinds |= {name: "*i32" for name in integers}
flags = "TIME TIME_B TIME_C HAS_D HAS_Z HAS_BIAS SOFTPLUS INITIAL SPLIT CHAINED LAST TURNS".split()
fixed = dict.fromkeys(flags, True) | dict(N=16, K=8, R=1, W=4, SAVE=32, LOCAL=False, COPY=False)
fixed |= dict(RESET=False, PACKED=False, LIMIT=None)
wide, packed = dict(N=64, SAVE=64), dict(RESET=True, PACKED=True)
kernels = [(backward_lanes, {}), (backward_lanes, dict(R=2)),
           (backward_lanes, wide | dict(R=2, CHAINED=False)), (messages_lanes, wide),
           (forward_lanes, {}), (forward_lanes, dict(K=2, LOCAL=True)),
           (forward_lanes, wide | dict(R=2, W=8)), (forward_few, dict(K=2)),
           (forward_few, dict(K=4, W=1, HAS_D=False, HAS_Z=False)),
           (forward_few, dict(K=2, COPY=True)), (forward_few, dict(K=4, W=2, COPY=True)),
           (backward_lanes, packed | dict(R=2, W=2)), (messages_lanes, packed | dict(W=2)),
           (forward_lanes, packed | wide | dict(R=2, W=8)), (forward_lanes, packed | dict(K=2, LOCAL=True)),
           (forward_few, dict(K=2, COPY=True, RESET=True)),
           (backward_lanes, dict(R=2, W=2, RESET=True, CHAINED=False)),
           (messages_lanes, dict(W=2, RESET=True)), (forward_lanes, dict(RESET=True))]
lone = dict(INITIAL=False, LAST=False, COPY=True)
kernels += [(forward_lanes, lone | dict(LIMIT=168, SPLIT=False, SAVE=0)),
            (forward_lanes, lone | dict(K=4, LIMIT=128, SPLIT=False)),
            (forward_lanes, lone | dict(LOCAL=True, LIMIT=128)),
            (forward_lanes, lone | dict(K=4, LOCAL=True, LIMIT=72))]
tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
def spilt(cubin):
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        usage = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    return int(re.search(r"STACK:(\d+)", usage.stdout).group(1))
fewer = [kernels[k] for k in (0, 2, 3, 5, 6, 8, 10, 11, 13)]
capability, backward = int(sys.argv[1]), sys.argv[2] == "backward"
for kernel, other in kernels if capability >= 90 else fewer:
    if (kernel in (backward_lanes, messages_lanes)) is not backward:
        continue
    names = kernel.arg_names
    given = fixed | other
    constants = {name: given.get(name, 1) for name in names if name in given or name.endswith("_l")}
    signature = {name: "constexpr" if name in constants else kinds.get(name, "i32") for name in names}
    values = {(k,): constants[name] for k, name in enumerate(names) if name in constants}
    known = [["tt.divisibility", 16]]
    attributes = {(k,): known for k, name in enumerate(names) if given["COPY"] and name not in constants}
    source = GluonASTSource(kernel, signature, values, attributes)
    options = {"num_warps": given["W"]} | ({"maxnreg": given["LIMIT"]} if given["LIMIT"] else {})
    built = compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    atomics = bool(re.search(r"\b(atom|red)[.]\S*[.]b?f(16|32|64)", built.asm["ptx"]))
    kept = spilt(built.asm["cubin"]) if given["LIMIT"] else None
    print(json.dumps({"shared": built.metadata.shared, "atomics": atomics, "spilt": kept}))
"""


@pytest.mark.skipif(OLD, reason="this Triton has no Gluon that names these layouts")
@pytest.mark.parametrize(
    ("capability", "pass_", "kernels"),
    [("80", "forward", 5), ("80", "backward", 4), ("90", "forward", 15), ("90", "backward", 8)],
)
def test_compiles_without_a_gpu(capability: str, pass_: str, kernels: int, tmp_path: Path) -> None:
    built = printed(COMPILE, tmp_path, capability, pass_)
    assert len(built) == kernels
    assert all(kernel["shared"] <= SHARED_BYTES and not kernel["atomics"] for kernel in built)
    limited = [kernel["spilt"] for kernel in built if kernel["spilt"] is not None]
    assert limited == [0] * (4 if (capability, pass_) == ("90", "forward") else 0)


def test_a_tensor_on_a_cpu_takes_the_plain_kernel() -> None:
    x = Inputs(*(torch.ones(1, 1, 1) for _ in range(2)), torch.ones(1, 16), *(torch.ones(1, 1, 16, 1),) * 2)
    assert not lanes_fit(x)


FEATURES: dict[str, dict[str, Any]] = {
    "typical": {"d": 70, "l": 100, "n": 16},
    "three states of sixteen unused, two groups": {"d": 96, "l": 37, "n": 13, "groups": (2, 3)},
    "one step": {"d": 5, "l": 1, "n": 9},
    "plain": {"d": 33, "l": 65, "n": 16, "plain": True},
    "thirty-two states": {"d": 70, "l": 100, "n": 32},
    "twenty states, two groups": {"d": 48, "l": 37, "n": 20, "groups": (2, 3)},
    "sixty-four states": {"d": 70, "l": 133, "n": 64},
    "forty states": {"d": 21, "l": 96, "n": 40},
    "plain, of sixty-four states": {"d": 9, "l": 65, "n": 64, "plain": True},
}


@pytest.mark.skipif(not torch.cuda.is_available() or OLD, reason="Gluon runs on a GPU only")
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("name", FEATURES)
def test_within_the_bound(name: str, transposed: bool) -> None:
    call = problem("cuda", **FEATURES[name])
    if transposed:
        for key in ("u", "delta", "z", "B", "C"):
            if key in call:
                call[key] = call[key].transpose(-1, -2).contiguous().transpose(-1, -2)
    ratios = verdict(selective_scan, call)
    assert all(ratio <= 1 for ratio in ratios.values()), ratios


TILINGS = [
    ForwardLanes(16, 4, 1, 2, first=ForwardLanes(16, 2, 1, 4)),
    ForwardLanes(16, 8, 1, 2),
    ForwardLanes(16, 8, 1, 4),
    ForwardLanes(16, 4, 1, 4),
    ForwardLanes(32, 8, 1, 4),
    ForwardLanes(32, 8, 2, 2),
    ForwardLanes(64, 8, 1, 8),
    ForwardLanes(64, 8, 2, 4),
    ForwardLanes(64, 8, 2, 8),
]


def forward_call(n: int, length: int, transposed: bool) -> Inputs:
    """Every feature, in float32."""
    call = problem("cuda", d=70, l=length, n=n)
    softplus = call.pop("delta_softplus")
    x = Inputs(**call | {"B": call["B"][:, None], "C": call["C"][:, None]}, softplus=softplus)
    if transposed:
        turned = {
            k: getattr(x, k).transpose(-1, -2).contiguous().transpose(-1, -2) for k in ("u", "delta", "z")
        }
        x = replace(x, **turned, B=x.B.mT.contiguous().mT, C=x.C.mT.contiguous().mT)
    return x


def assert_agrees_with_the_plain_twin(x: Inputs, plan: ForwardLanes | ForwardFew) -> None:
    """Output, last state and saved states."""
    save = saved_every(x.A.shape[1])
    plain = run_forward(x, last=True, save=save, plan=forward_plan(x.shape))
    lanes = run_forward(x, last=True, save=save, plan=plan)
    for actual, expected in zip(lanes, plain, strict=True):
        # Two orders of float32 sums over the states.
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available() or OLD, reason="Gluon runs on a GPU only")
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("segment", [64, 128, 320])
@pytest.mark.parametrize("tiling", TILINGS, ids=str)
def test_forward_agrees_with_the_plain_twin(tiling: ForwardLanes, segment: int, transposed: bool) -> None:
    cut = replace(tiling, segments=-(-300 // segment), segment=segment)
    assert_agrees_with_the_plain_twin(forward_call(tiling.N - 3, 300, transposed), cut)


@pytest.mark.skipif(not torch.cuda.is_available() or OLD, reason="Gluon runs on a GPU only")
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("length", [1, 33, 64, 300])
@pytest.mark.parametrize("n", [9, 16])
@pytest.mark.parametrize("states", [2, 4])
@pytest.mark.parametrize("warps", [1, 2, 4])
def test_few_warps_agree_with_the_plain_twin(
    warps: int, states: int, n: int, length: int, transposed: bool
) -> None:
    assert_agrees_with_the_plain_twin(forward_call(n, length, transposed), ForwardFew(warps, states))


SIXTEEN_BITS = {
    "copied": ((1, 40, 192), True),
    "a tail to copy": ((2, 40, 208), True),
    "an odd length": ((2, 40, 193), False),
    "an odd offset": ((2, 40, 192), False),
    "time in B and C apart": ((2, 40, 192), False),
}


@pytest.mark.skipif(not torch.cuda.is_available() or OLD, reason="Gluon runs on a GPU only")
@pytest.mark.parametrize("plan", [ForwardFew(4), ForwardFew(2, K=4)], ids=str)
@pytest.mark.parametrize("name", SIXTEEN_BITS)
def test_few_warps_copy_sixteen_bits_or_load_them(name: str, plan: ForwardFew) -> None:
    (b, d, length), copied = SIXTEEN_BITS[name]
    call = problem("cuda", torch.bfloat16, b=b, d=d, l=length, n=16, groups=(1, 1))
    for key in ("A", "D", "delta_bias", "initial_state"):
        call[key] = call[key].float()
    softplus = call.pop("delta_softplus")
    if name == "an odd offset":
        call["z"] = torch.nn.functional.pad(call["z"], (1, 15))[..., 1 : 1 + length]
    if name == "time in B and C apart":
        call |= {key: call[key].mT.contiguous().mT for key in ("B", "C")}
    x = Inputs(**call, softplus=softplus)
    assert can_be_copied(x) is copied
    few = run_forward(x, last=True, save=32, plan=plan)
    plain = run_forward(x, last=True, save=32, plan=forward_plan(x.shape))
    for actual, expected, rtol in zip(few, plain, (2**-7, 1e-4, 1e-4), strict=True):
        # Two orders of float32 sums over the states; y is rounded to bfloat16, whose numbers lie 2⁻⁷ apart.
        torch.testing.assert_close(actual, expected, rtol=rtol, atol=1e-5)


@dataclass(frozen=True)
class Twin:
    """A call and a plan: n states, W warps, steps of a segment, programs to a slice; chained; R channels."""

    n: int
    W: int
    segment: int
    each: int = 1
    dtype: torch.dtype = torch.float32
    transposed: bool = False
    chained: bool = False
    R: int = 2


TWINS = [
    Twin(16, 4, 320),
    Twin(16, 2, 32),
    Twin(16, 4, 96, each=3, dtype=torch.bfloat16),
    Twin(16, 2, 320, each=2, dtype=torch.float16, transposed=True),
    Twin(24, 4, 96, each=2),
    Twin(24, 2, 320, dtype=torch.bfloat16),
    Twin(32, 4, 320, each=4, dtype=torch.bfloat16),
    Twin(64, 4, 64, each=3),
    Twin(64, 4, 320, each=16, dtype=torch.bfloat16),
    Twin(64, 4, 128, dtype=torch.bfloat16, transposed=True),
    Twin(40, 2, 192, each=3),
    Twin(16, 2, 32, chained=True),
    Twin(16, 4, 96, each=2, dtype=torch.bfloat16, chained=True),
    Twin(64, 4, 64, each=3, chained=True),
    Twin(16, 2, 224),
    Twin(16, 4, 320, R=1),
    Twin(16, 4, 320, dtype=torch.bfloat16, transposed=True, R=1),
    Twin(16, 2, 96, each=2, R=1),
    Twin(16, 4, 32, each=2, R=1),
    Twin(9, 4, 96, chained=True, R=1),
]


@pytest.mark.skipif(not torch.cuda.is_available() or OLD, reason="Gluon runs on a GPU only")
@pytest.mark.parametrize("twin", TWINS, ids=str)
def test_agrees_with_the_plain_twin(twin: Twin) -> None:
    call = problem("cuda", d=270, l=300, n=twin.n)
    softplus = call.pop("delta_softplus")
    call |= {"B": call["B"][:, None], "C": call["C"][:, None]}
    for key in ("u", "delta", "z", "B", "C"):
        call[key] = call[key].to(twin.dtype)
        if twin.transposed:
            call[key] = call[key].transpose(-1, -2).contiguous().transpose(-1, -2)
    x = Inputs(**call, softplus=softplus)
    assert lanes_fit(x)
    dy, dlast = torch.randn_like(x.u), torch.randn_like(call["initial_state"])
    save = saved_every(twin.n)
    _, _, saved = run_forward(x, last=True, save=save)
    assert saved is not None
    plain = run_backward(x, saved, dy, dlast, plan=backward_plan(x.shape))
    segments = -(-300 // twin.segment)
    plan = LanesPlan(x.shape.padded, twin.W, segments, twin.segment, save, twin.each, twin.chained, twin.R)
    lanes, again = (run_backward(x, saved, dy, dlast, plan=plan) for _ in range(2))
    close = 1e-4 if twin.dtype == torch.float32 else 2 * torch.finfo(twin.dtype).eps
    for key, expected in plain.items():
        # Two orders of the same float32 sums, rounded to dtype: far under the error of a lost segment or
        # slice, which is of order 1.
        torch.testing.assert_close(lanes[key], expected, rtol=close, atol=1e-4 * float(expected.abs().max()))
        assert torch.equal(lanes[key], again[key])
