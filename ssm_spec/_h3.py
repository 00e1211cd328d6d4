"""H3: a shift system on the keys, a diagonal one on their products with the values, and two gates.

    k' = shift(k) + D_k k,   shift(k)_t = Σ_{j<n} S_j k_{t−j}          (h_t[0] = k_t, h_t[i] = h_{t−1}[i−1])
    s_ij = SSM(k'_i v_j) + D k'_i v_j,   y_j = Σ_i q_i s_ij   in each head,   output = W y

(H3, arXiv:2212.14052, section 3.1 and algorithm 1; the diagonal system is S4D's, one a head. Channels are
head-major before and after: channel h·w + i is number i of head h, w the width of a head.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ssm_spec._calls import arguments_of, operator
from ssm_spec._convolution import causal_convolution, causal_convolution_vjp
from ssm_spec._errors import ShapeError
from ssm_spec._layer import RULES, System, pull_back, run
from ssm_spec._layer_views import given_back
from ssm_spec._systems import as_matrix_like
from ssm_spec._validate import (
    Array,
    Dimensions,
    Float,
    as_array,
    as_choice,
    as_cotangent,
    as_real_array,
    at_least_one,
    check_cotangent_names,
    differentiated,
)

OUTPUTS = ("y",)
DIFFERENTIABLE = ("q", "k", "v", "shift", "shift_D", "delta", "A", "B", "C", "D", "out_proj")


class Heads(NamedTuple):
    """The arguments, checked: `passing` is D_k; `system` lacks its input; `width` is that of a head."""

    q: Float
    k: Float
    v: Float
    shift: Float
    passing: Float
    system: System
    out_proj: Float | None
    width: int

    def split(self, x: Float) -> Float:
        """Return (b, d, l) as (b, h, w, l)."""
        b, _d, length = x.shape
        return x.reshape(b, len(self.system.A), self.width, length)

    def joined(self, x: Array) -> Array:
        """Return (b, h, w, l) as (b, d, l)."""
        return x.reshape(x.shape[0], x.shape[1] * x.shape[2], x.shape[3])

    def folded(self, x: Float) -> Float:
        """Return products (b, i, j, h, l) as the system's input, every pair a row of the batch."""
        b, w, _, h, length = x.shape
        return x.reshape(b * w * w, h, 1, length)

    def unfolded(self, x: Array) -> Array:
        """Return what the system gave as (b, i, j, h, l)."""
        b, w = self.q.shape[0], self.width
        return x.reshape(b, w, w, *x.shape[1:2], x.shape[-1])


class Forward(NamedTuple):
    """What is made on the way: keys (b, d, l), the system with its input, s (b, i, j, h, l), y (b, d, l)."""

    keys: Float
    system: System
    s: Float
    y: Float


@operator
def h3(
    q: Float,
    k: Float,
    v: Float,
    shift: Float,
    shift_D: Float,
    delta: Float,
    A: Array,
    B: Array,
    C: Array,
    D: Float | None = None,
    out_proj: Float | None = None,
    *,
    discretization: str = "zoh",
) -> Float:
    """Run H3 on projected queries, keys and values; no norm, no projection before.

    (C1) The shift system's kernel is `shift` itself, S_0 weighing the present key.
    (C2) k'_i v_j enters the diagonal system of its head for every i and j; q_i gates what comes out, summed.
    (C3) A complex A holds one mode of each conjugate pair; D and `shift_D` pass their input by.
    (C4) Channel h w + i is number i of head h, in q, k, v and in what `out_proj` reads.

    Parameters
    ----------
    q, k, v
        (b, d, l), real.
    shift, shift_D
        (d, s) and (d,), real, s >= 1.
    delta
        (h,), real; h divides d.
    A, B, C
        (h, n), n the modes kept; float or complex.
    D
        (h,), real; none means zero.
    out_proj
        (o, d), real; none means no projection.
    discretization
        "zoh", "bilinear", "forward_euler" or "backward_euler".

    Returns
    -------
    y
        (b, o, l), or (b, d, l) without `out_proj`; float64.
    """
    call = read(q, k, v, shift, shift_D, delta, A, B, C, D, out_proj, discretization)
    y = forward(call).y
    return y if call.out_proj is None else np.einsum("od,bdl->bol", call.out_proj, y)


@arguments_of(h3)
def h3_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None = None, **inputs: Any
) -> dict[str, Array]:
    """Return the gradients of the inputs of `h3` named in `wrt` (default: all given)."""
    call, names, r = read_vjp(cotangents, wrt, inputs)
    made = forward(call)
    dy, ds = pull_back_gate(call, r)
    slopes = pull_back(made.system, {"y": call.folded(ds)})
    found = {**slopes, **pull_back_inputs(call, made, r, dy, call.unfolded(slopes.pop("u")))}
    return {name: given_back(found[name], inputs[name]) for name in names}


def read(
    q: object,
    k: object,
    v: object,
    shift: object,
    shift_D: object,
    delta: object,
    A: object,
    B: object,
    C: object,
    D: object,
    out_proj: object,
    discretization: object,
) -> Heads:
    """Check every argument."""
    dims = Dimensions()
    given = {"q": q, "k": k, "v": v, "shift": shift, "shift_D": shift_D}
    patterns = {"q": "b d l", "k": "b d l", "v": "b d l", "shift": "d s", "shift_D": "d"}
    real = {name: as_real_array(name, value) for name, value in given.items()}
    for name, array in real.items():
        dims.match(name, array, patterns[name])
    at_least_one("shift", "s", dims["s"])
    A_ = as_array("A", A)
    B_, C_ = (as_matrix_like(name, x, A_.dtype.kind == "c") for name, x in (("B", B), ("C", C)))
    for name, array in (("A", A_), ("B", B_), ("C", C_)):
        dims.match(name, array, "h n")
    at_least_one("A", "h", dims["h"])
    at_least_one("A", "n", dims["n"])
    step = as_real_array("delta", delta)
    dims.match("delta", step, "h")
    if dims["d"] % dims["h"]:
        raise ShapeError(f"`A` must have shape (h, n) with h dividing d = {dims['d']}; got {A_.shape}")
    D_ = None if D is None else as_real_array("D", D)
    if D_ is not None:
        dims.match("D", D_, "h")
    W = None if out_proj is None else as_real_array("out_proj", out_proj)
    if W is not None:
        dims.match("out_proj", W, "o d")
    rule = as_choice("discretization", discretization, RULES)
    direct = None if D_ is None else D_[:, None, None]
    nothing = np.zeros((0, dims["h"], 1, dims["l"]))
    system = System(A_, B_[..., None], C_[:, None, :], direct, step[:, None], nothing, None, rule, True)
    width = dims["d"] // dims["h"]
    return Heads(real["q"], real["k"], real["v"], real["shift"], real["shift_D"], system, W, width)


def read_keywords(inputs: Mapping[str, Any]) -> Heads:
    """Read a call given by keywords."""
    return read(**{"D": None, "out_proj": None, "discretization": "zoh", **inputs})


def read_vjp(
    cotangents: Mapping[str, Array | None], wrt: Iterable[str] | None, inputs: Mapping[str, Any]
) -> tuple[Heads, tuple[str, ...], Float]:
    """Return the call, the names asked for, and the cotangent of the output."""
    call = read_keywords(inputs)
    names = differentiated(wrt, inputs, DIFFERENTIABLE)
    check_cotangent_names(cotangents, OUTPUTS)
    b, d, length = call.q.shape
    shape = (b, d if call.out_proj is None else call.out_proj.shape[0], length)
    r = as_cotangent(cotangents, "y", shape)
    return call, names, np.zeros(shape) if r is None else r


def forward(call: Heads) -> Forward:
    """Return everything up to the output projection."""
    keys = causal_convolution(call.k, call.shift) + call.passing[:, None] * call.k
    products = np.einsum("bhil,bhjl->bijhl", call.split(keys), call.split(call.v))
    system = call.system._replace(u=call.folded(products))
    out, _ = run(system)
    s = call.unfolded(out)
    return Forward(keys, system, s, call.joined(np.einsum("bhil,bijhl->bhjl", call.split(call.q), s)))


def pull_back_gate(call: Heads, r: Float) -> tuple[Float, Float]:
    """Return dy = Wᵀ r (b, d, l) and ds_ij = q_i dy_j (b, i, j, h, l)."""
    dy = r if call.out_proj is None else np.einsum("od,bol->bdl", call.out_proj, r)
    return dy, np.einsum("bhil,bhjl->bijhl", call.split(call.q), call.split(dy))


def pull_back_inputs(call: Heads, made: Forward, r: Float, dy: Float, dx: Float) -> dict[str, Float]:
    """Return the gradients of all but the diagonal system, for the gradient dx of its input (b, i, j, h, l).

    dq_i = Σ_j s_ij dy_j, dk'_i = Σ_j dx_ij v_j, dv_j = Σ_i dx_ij k'_i; then the adjoint of the shift.
    """
    d_keys = pull_back_keys(call, dx)
    through = causal_convolution_vjp({"y": d_keys}, u=call.k, K=call.shift)
    return {
        "q": call.joined(np.einsum("bijhl,bhjl->bhil", made.s, call.split(dy))),
        "k": through["u"] + call.passing[:, None] * d_keys,
        "v": call.joined(np.einsum("bijhl,bhil->bhjl", dx, call.split(made.keys))),
        "shift": through["K"],
        "shift_D": np.einsum("bdl,bdl->d", d_keys, call.k),
        "out_proj": np.einsum("bol,bdl->od", r, made.y),
    }


def pull_back_keys(call: Heads, dx: Float) -> Float:
    """Return dk'_i = Σ_j dx_ij v_j, (b, d, l)."""
    return call.joined(np.einsum("bijhl,bhjl->bhil", dx, call.split(call.v)))
