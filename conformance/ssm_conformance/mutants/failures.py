"""The recorded failures of public kernels that the mutants are seeds of, and where no mutant can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Failure(NamedTuple):
    """What went wrong in a public implementation.

    Attributes
    ----------
    reported
        Where.
    defect
        What, in a few words.
    elsewhere
        Why no mutant of an operator shows it, and what holds it instead; "" where mutants do.
    """

    reported: str
    defect: str
    elsewhere: str = ""


FAILURES: Final[Mapping[int, Failure]] = {
    1: Failure("llama.cpp#15625, transformers#37533", "groups expanded by repetition"),
    2: Failure("transformers#34817, #35154, #47246, #47250", "sum from chunk to chunk over the wrong axis"),
    3: Failure("transformers#35154, mamba step()", "decode clamps Δ to other limits than prefill"),
    4: Failure("mamba#580", "the convolution keeps the tail, not the first l"),
    5: Failure("mamba#255", "fails at d = 4096"),
    6: Failure("mamba#1017", "heavy-tailed error hidden by a relative tolerance of 0.1"),
    7: Failure("mamba#997", "one launch configuration corrupts silently"),
    8: Failure("mamba#225", "outputs all zero, no error"),
    9: Failure("mamba#716", "slow and fast path disagree"),
    10: Failure("mamba selective_state_update", "softplus as log(exp(x) + 1)"),
    11: Failure("S4D, S5", "exact hold as (exp(λΔ) − 1)/λ"),
    12: Failure("transformers, slow path", "softplus and C·h in the input's dtype"),
    13: Failure("mamba#352, #353, #354", "a mask after the exponential: NaN gradients"),
    14: Failure("mamba#547", "backward lacks the group size"),
    15: Failure("mamba#746", "an exp missing in dB of packed sequences"),
    16: Failure("mamba#827", "race on a gradient of heads wider than a block"),
    17: Failure("mamba#75", "gradients off; their assertions commented out"),
    18: Failure("mamba.py pscan", "complex gradients lack the conjugate"),
    19: Failure("mamba selective_scan_fn", "the cotangent of the last state is dropped"),
    20: Failure("vllm#37501, TensorRT-LLM#14652", "exponentials of unclamped numbers overflow"),
    21: Failure("mamba#6, #72", "A in half precision diverges"),
    22: Failure("mamba#500, #683", "long chains of steps drift from the scan"),
    23: Failure("mamba#1014, #1039, #985", "a length of one takes another path"),
    24: Failure("vllm#23279, TensorRT-LLM#6334", "decay taken from the chunk's start"),
    25: Failure("transformers#46032", "cached input of several tokens wrong"),
    26: Failure("vllm#56196, #34587", "state written to the wrong place, or incomplete"),
    27: Failure("SkyRL#2056", "state leaks into the next packed sequence"),
    28: Failure("transformers#32677, #46773", "left padding leaks; batch of one too"),
    29: Failure("mamba#880, #884, #1015, vllm#35275, #41617", "offsets in 32 bits"),
    30: Failure("flash-linear-attention#945, #1228, vllm#55895", "other bits from run to run"),
    31: Failure("mamba#643, #351, #834, flash-linear-attention#519", "strides assumed"),
    32: Failure("mamba#868, #855", "mixed dtypes fail"),
    33: Failure(
        "mamba#219, #377",
        "a compiler removed log1p",
        "a matter of versions, not of one call: `raises` on a claimed call fails its case, and the tests of "
        "the Triton backend run its kernels under the version installed",
    ),
    34: Failure(
        "mamba#497, #223, #602",
        "import fails without nvcc",
        "there is no operator yet to be judged: a plugin that fails to import is a load error "
        "(tests/engine), and the built-in backends import without compiler and GPU (tests/packaging)",
    ),
    35: Failure("mamba.py#9", "33.6 GB where 3.2 GB would do"),
    36: Failure("vllm#21379", "the test never asserted"),
}
"""Number → failure."""
