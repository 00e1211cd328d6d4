"""The selective scan as a scan of the associative operator (a₁, x₁) ∘ (a₂, x₂) = (a₂a₁, a₂x₁ + x₂)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

Pair = tuple[Array, Array]


def selective_scan(
    u: Array,
    delta: Array,
    A: Array,
    B: Array,
    C: Array,
    D: Array | None = None,
    z: Array | None = None,
    delta_bias: Array | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    initial_state: Array | None = None,
) -> Array | tuple[Array, Array]:
    """h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t u_t, y_t = (γ Re Σ_n C_t h_t + D u_t) silu(z_t).

    Half-precision inputs are computed in float32.

    Parameters
    ----------
    u, delta, z : (b, d, l)
    A : (d, n), real or complex; γ is 2 if complex, else 1
    B, C : (d, n), (b, n, l) or (b, g, n, l)
    D, delta_bias : (d)
    initial_state : (b, d, n)

    Returns
    -------
    y : (b, d, l), dtype of u
    last_state : (b, d, n); only with ``return_last_state``
    """
    y, last_state = _scan(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus)
    return (y, last_state) if return_last_state else y


@partial(jax.jit, static_argnames="delta_softplus")
def _scan(
    u: Array,
    delta: Array,
    A: Array,
    B: Array,
    C: Array,
    D: Array | None,
    z: Array | None,
    delta_bias: Array | None,
    initial_state: Array | None,
    delta_softplus: bool,
) -> Pair:
    (b, d, l), n = u.shape, A.shape[1]
    wide = jnp.float64 if A.real.dtype == jnp.float64 else jnp.float32
    x, step = u.astype(wide), delta.astype(wide)
    if delta_bias is not None:
        step = step + delta_bias[:, None]
    if delta_softplus:
        step = jnp.logaddexp(step, 0)
    decay = jnp.exp(step[..., None] * A[:, None])  # (b, d, l, n)
    drive = (step * x)[..., None] * _spread(B, b, d, l)
    h0 = jnp.zeros((b, d, n), decay.dtype) if initial_state is None else initial_state
    if l == 0:
        h = jnp.zeros((b, d, 0, n), decay.dtype)
    else:
        drive = drive.astype(decay.dtype).at[:, :, 0].add(decay[:, :, 0] * h0)
        _, h = jax.lax.associative_scan(_compose, (decay, drive), axis=2)
    y = (h * _spread(C, b, d, l)).sum(-1)
    y = 2 * y.real if jnp.iscomplexobj(y) else y
    if D is not None:
        y = y + D[:, None] * x
    if z is not None:
        y = y * jax.nn.silu(z.astype(wide))
    return y.astype(u.dtype), h[:, :, -1] if l else h0


def _compose(first: Pair, second: Pair) -> Pair:
    """First in time on the left."""
    (a1, x1), (a2, x2) = first, second
    return a2 * a1, a2 * x1 + x2


def _spread(matrix: Array, b: int, d: int, l: int) -> Array:
    """B or C as (b, d, l, n): channel i reads group i // (d/g)."""
    matrix = matrix if jnp.iscomplexobj(matrix) or matrix.dtype == jnp.float64 else matrix.astype(jnp.float32)
    if matrix.ndim == 2:
        return jnp.broadcast_to(matrix[None, :, None], (b, d, l, matrix.shape[1]))
    if matrix.ndim == 3:
        matrix = matrix[:, None]
    return jnp.repeat(matrix, d // matrix.shape[1], axis=1).swapaxes(2, 3)
