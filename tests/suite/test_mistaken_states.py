"""The states and adjoints that a mistake is made of: those of the oracle, whatever the options."""

from itertools import product
from typing import Any

import numpy as np
import pytest

import ssm_spec
from ssm_conformance.mistaken_states import MOST, _adjoints, _states, states_after
from ssm_conformance.mistaken_steps import step_and_slope

OPTIONS = ("complex", "zoh", "gated", "packed", "softplus")
b, d, l, n = 2, 4, 7, 3


def call(projection: str, *options: str) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    shape = {"constant": (d, n), "shared": (b, n, l), "grouped": (b, 2, n, l)}[projection]

    def draw(*size: int) -> np.ndarray:
        x = rng.standard_normal(size)
        return x + 1j * rng.standard_normal(size) if "complex" in options else x

    given = {
        "u": rng.standard_normal((b, d, l)), "delta": rng.uniform(0.1, 0.9, (b, d, l)),
        "A": -rng.uniform(0.1, 2, (d, n)) + 0 * draw(d, n), "B": draw(*shape), "C": draw(*shape),
        "initial_state": draw(b, d, n), "delta_bias": rng.uniform(0, 0.2, d),
        "delta_softplus": "softplus" in options, "b_discretization": "zoh" if "zoh" in options else "euler",
    }  # fmt: skip
    if "complex" in options:
        given["A"] = given["A"] + 1j * rng.standard_normal((d, n))
    if "gated" in options:
        given["z"] = rng.standard_normal((b, d, l))
    if "packed" in options:
        given["seq_idx"] = np.array([[0, 0, 0, 1, 1, 2, 2], [3, 3, 3, 3, 3, 3, 3]])
    return given


@pytest.mark.parametrize("projection", ["constant", "shared", "grouped"])
@pytest.mark.parametrize(
    "options",
    [tuple(o for o, on in zip(OPTIONS, chosen, strict=True) if on) for chosen in product((0, 1), repeat=5)],
    ids=lambda options: "-".join(options) or "none",
)
def test_states_and_adjoints_are_the_oracle_s(projection: str, options: tuple[str, ...]) -> None:
    given = call(projection, *options)
    rng = np.random.default_rng(6)
    last = ssm_spec.selective_scan(**given, return_last_state=True)[1]
    cotangents = {
        "y": rng.standard_normal((b, d, l)),
        "last_state": rng.standard_normal((b, d, n)) + 0 * last,
    }
    step, _ = step_and_slope(given)
    a = np.exp(step[:, :, None] * given["A"][..., None])
    _, after = _states(given, step, a)
    # Some twenty roundings of float64 each, 2⁻⁵³.
    np.testing.assert_allclose(after[..., -1], last, rtol=1e-13, atol=1e-14)
    found = np.conj(a[..., 0]) * _adjoints(given, cotangents, a)[..., 0]
    meant = ssm_spec.selective_scan_vjp(cotangents, ("initial_state",), **given)["initial_state"]
    np.testing.assert_allclose(found, meant, rtol=1e-13, atol=1e-14)


def test_what_is_not_replaced_is_right() -> None:
    given = call("shared", "gated", "softplus")
    cotangents = {"y": np.ones((b, d, l))}
    right = ssm_spec.selective_scan_vjp(cotangents, ("u", "delta", "A", "delta_bias"), **given)
    for mistake, wrong in states_after("selective_scan", given, cotangents, right):
        assert "h_t stands where" in mistake
        assert set(wrong) == {"delta", "A", "delta_bias"}
        assert all(np.max(np.abs(wrong[name] - right[name])) > 1e-3 for name in wrong)


def test_calls_of_many_states_are_left_out() -> None:
    given = call("shared")
    given["A"] = np.broadcast_to(-1.0, (d, MOST // (b * d * l) + 1))
    assert not list(states_after("selective_scan", given, {}, {"A": given["A"]}))
