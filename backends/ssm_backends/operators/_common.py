"""What the declarations of several families share."""

from __future__ import annotations

from typing import Any, Final

from ssm_backends.schema import Argument, Form, Role, Rule

BASE_FEATURES: Final = {
    "complex": "A is complex: one mode of each conjugate pair is kept",
    "mixed_dtypes": "arrays of a call may differ in dtype where the specification allows it",
}
PYTORCH_FEATURES: Final = {
    "compile": "torch.compile traces a call whole, as one graph",
    "cuda_graph": "a call that a CUDA graph captured can be replayed on other numbers",
    "autocast": "torch.autocast changes nothing: no array is cast down inside",
}
"""Of every operator that takes arrays, about PyTorch tensors alone. No call asks for them: they say where any
claimed call may stand."""


def array(name: str, shape: str, doc: str, role: Role = "parameter", **more: Any) -> Argument:
    """A differentiable array of one shape; `more` as of an Argument."""
    return Argument(name=name, doc=doc, forms=(Form(shape, role),), **{"differentiable": True} | more)


POOLED: Final = (
    Argument(
        name="state_indices",
        kind="index",
        doc="Slot of the pool for each row; −1 skips the row.",
        forms=(Form("b"),),
        choices=("int32", "int64"),
        default=None,
        keyword_only=True,
        feature="state_indices",
    ),
    Argument(
        name="inplace",
        kind="flag",
        default=False,
        keyword_only=True,
        value_features={True: "inplace"},
        doc="Write the new state into `state`.",
    ),
)
"""Of a decode step: where its states lie, and where they go."""
POOL_FEATURES: Final = {
    "half_state": "the state may be stored in 16 bits",
    "state_indices": "the state is a pool addressed by slot",
    "inplace": "the new state is written over the old",
}
ONE_STATE_A_ROW: Final = Rule(
    "state",
    "its first dimension is b",
    lambda c: "state_indices" in c.given or c.sizes["r"] == c.sizes["b"],
)


SYMBOLS: Final = {
    "*s": "leading dimensions, one system to each, that broadcast among the arguments; any number, or none",
    "a": "pairs that are turned",
    "b": "batch",
    "d": "channels",
    "g": "groups",
    "g_B": "groups of B",
    "g_C": "groups of C",
    "h": "heads",
    "k": "length of the kernel",
    "l": "length",
    "m": "inputs of a system",
    "n": "states",
    "o": "features of the output",
    "p": "width of a head",
    "r": "rows of state: the batch, the packed sequences, or the slots of a pool",
    "s": "taps of the shift",
    "v": "inputs that the state holds, one fewer than the filter has taps",
}
"""What a symbol counts, unless an operator says otherwise."""
