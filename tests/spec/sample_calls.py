"""One small valid call of every operator, with every argument that has an array of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

import ssm_spec

Call = dict[str, Any]
N, G, P = 3, 2, 3


def sample_calls(B: int = 2, D: int = 4, L: int = 5) -> dict[str, Call]:
    """Operator → the arguments of a valid call; every array holds numbers of float32 or complex64.

    b batch rows, d channels, or heads, and length l; any of them may be 0.
    """
    rng, H = np.random.default_rng(11), D

    def real(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    def positive(*shape: int) -> Any:
        return np.exp(rng.uniform(-3, -1, shape)).astype(np.float32)

    def modes(*shape: int) -> Any:
        return (-rng.uniform(0.2, 2, shape) + 1j * rng.uniform(-3, 3, shape)).astype(np.complex64)

    def general(*shape: int) -> Any:
        return (real(*shape) + 1j * real(*shape)).astype(np.complex64)

    stable = (-np.eye(N) + 0.3 * rng.standard_normal((N, N))).astype(np.float32)
    scan = {
        "u": real(B, D, L),
        "delta": real(B, D, L),
        "A": modes(D, N),
        "B": general(B, G, N, L),
        "C": general(B, G, N, L),
        "D": real(D),
        "z": real(B, D, L),
        "delta_bias": real(D),
        "delta_softplus": True,
        "initial_state": general(B, D, N),
        "seq_idx": np.resize([0, 0, 1, 1, 1, 4, 4, 4, 4, 2], (B, L)),
    }
    layer = {"u": real(B, D, L), "delta": positive(D), "D": real(D)}
    modal = {"A": modes(D, N), "B": general(D, N), "C": general(D, N)}
    dense = {"A": stable, "B": real(N, 2), "C": real(2, N)}
    block = {
        "in_proj": real(2 * D, 2),
        "conv1d_weight": real(D, 3),
        "conv1d_bias": real(D),
        "x_proj": real(2 + 2 * N, D),
        "dt_proj_weight": real(D, 2),
        "dt_proj_bias": real(D),
        "A_log": real(D, N),
        "D": real(D),
        "out_proj": real(2, D),
    }
    states = {"conv_state": real(B, D, 2), "ssm_state": real(B, D, N)}
    heads = {
        "x": real(B, L, H, P),
        "dt": real(B, L, H),
        "A": -positive(H),
        "B": real(B, L, G, N),
        "C": real(B, L, G, N),
        "D": real(H),
        "z": real(B, L, H, P),
        "dt_bias": real(H),
        "dt_softplus": True,
    }
    third = {
        "q": real(B, L, G, 4),
        "k": real(B, L, G, 4),
        "v": real(B, L, H, P),
        "adt": -positive(B, H, L),
        "dt": positive(B, H, L),
        "trap": real(B, H, L),
        "q_bias": real(H, 4),
        "k_bias": real(H, 4),
        "angles": real(B, L, H, 2),
        "D": real(H),
        "z": real(B, L, H, P),
    }
    third_states = {
        "angle_state": real(B, H, 2),
        "ssm_state": real(B, H, P, 4),
        "k_state": real(B, H, 4),
        "v_state": real(B, H, P),
    }
    initialisations = ("hippo_legs", "hippo_legt", "hippo_lagt", "hippo_fout", "hippo_legs_nplr")
    diagonals = ("s4d_legs", "s4d_inv", "s4d_lin")
    return {name: {"n": 4} for name in (*initialisations, *diagonals)} | {
        "discretize_zoh": {"A": stable, "B": real(N, 2), "delta": positive(D)},
        "discretize_bilinear": {"A": stable, "B": real(N, 2), "delta": positive(D)},
        "ssm_recurrence": {
            "A_bar": 0.3 * real(N, N),
            "B_bar": real(N, 2),
            "C": real(2, N),
            "u": real(B, 2, L),
            "D": real(2, 2),
            "initial_state": real(B, N),
        },
        "ssm_kernel": {"A_bar": 0.3 * real(N, N), "B_bar": real(N, 2), "C": real(2, N), "length": L},
        "causal_convolution": {"u": real(B, D, L), "K": real(D, 3)},
        "selective_scan": scan,
        "selective_state_update": first_step(
            scan, ("u", "delta", "z", "B", "C"), -1, ("initial_state", "seq_idx")
        )
        | {"state": general(B, D, N)},
        "s4d_kernel": {"delta": positive(D), **modal, "length": L},
        "s4d": {**layer, **modal, "initial_state": general(B, D, N)},
        "lssl": {
            **layer,
            "A": np.broadcast_to(stable, (D, N, N)).copy(),
            "B": real(D, N),
            "C": real(D, 2, N),
            "D": real(D, 2),
            "initial_state": real(B, D, N),
        },
        "s5": {
            **layer,
            "delta": positive(N),
            "A": modes(N),
            "B": general(N, D),
            "C": general(D, N),
            "initial_state": general(B, N),
        },
        "ssm_associative_scan": {"a": 0.5 * real(B, N, N, L), "x": real(B, N, L)},
        "s4_kernel": {
            "delta": positive(D),
            "Lambda": modes(D, N),
            "P": general(D, N),
            "Q": general(D, N),
            "B": general(D, N),
            "C": general(D, N),
            "length": L,
        },
        "hippo_legs_compress": {"f": real(B, L), "n": N},
        "hippo_legs_reconstruct": {"c": real(B, N), "points": np.float32([0.0, 0.25, 1.0])},
        "h3": {
            "q": real(B, D, L),
            "k": real(B, D, L),
            "v": real(B, D, L),
            "shift": real(D, 2),
            "shift_D": real(D),
            "delta": positive(2),
            "A": modes(2, N),
            "B": general(2, N),
            "C": general(2, N),
            "D": real(2),
            "out_proj": real(3, D),
        },
        "continuous_response": {**dense, "u": real(B, 2, L), "delta": positive(), "D": real(2, 2)}
        | {"initial_state": real(B, N)},
        "impulse_response": {**dense, "times": positive(L)},
        "step_response": {**dense, "times": positive(L), "D": real(2, 2)},
        "causal_conv1d": {
            "x": real(B, D, L),
            "weight": real(D, 3),
            "bias": real(D),
            "activation": "silu",
            "initial_state": real(B, D, 2),
            "seq_idx": scan["seq_idx"],
        },
        "causal_conv1d_update": {
            "x": real(B, D),
            "state": real(B, D, 2),
            "weight": real(D, 3),
            "bias": real(D),
            "activation": "silu",
        },
        "ssd": heads | {"initial_states": real(B, H, P, N), "seq_idx": scan["seq_idx"]},
        "ssd_update": first_step(heads, ("x", "dt", "B", "C", "z"), 1) | {"state": real(B, H, P, N)},
        "mamba_block": {"x": real(B, L, 2), **block, **states},
        "mamba_step": {"x": real(B, 2), **block, **states},
        "mamba3_siso": {**third, **third_states, "seq_idx": scan["seq_idx"]},
        "mamba3_siso_step": first_step(
            first_step(third, ("q", "k", "v", "angles", "z"), 1), ("adt", "dt", "trap"), -1
        )
        | third_states,
    }


def first_step(call: Call, streams: tuple[str, ...], axis: int, left_out: tuple[str, ...] = ()) -> Call:
    """The arguments of the step at t = 0."""
    kept = {name: value for name, value in call.items() if name not in left_out}
    return kept | {name: np.take(kept[name], 0, axis=axis) for name in streams if kept[name].shape[axis]}


def outputs_of(name: str, call: Call) -> dict[str, Any]:
    """Every output by name, states included."""
    reference = ssm_spec.REFERENCES[name]
    return {key: found.value for key, found in reference.bounds(arithmetic=ssm_spec.ORACLE, **call).items()}
