"""Wrong selective scans around a right one: each breaks one promise that its values alone may not show."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ssm_backends import Backend, NumpyArrays, Op
from ssm_numpy import selective_scan, selective_scan_vjp

FEATURES = ("complex", "mixed_dtypes", "grouped", "zoh", "constant", "initial_state", "seq_idx", "cu_seqlens")


def backend(fn: Callable[..., Any] = selective_scan, vjp: Any = selective_scan_vjp, **claims: Any) -> Backend:
    """A backend of one operator that claims everything."""
    ops = {"selective_scan": op(fn, vjp, **claims)}
    return Backend(name="wrong", version="0", arrays=NumpyArrays(), ops=ops)


def op(fn: Callable[..., Any], vjp: Any, **claims: Any) -> Op:
    """The operator, with every claim but those that are given."""
    usual = {"dtypes": ("float32", "float64"), "gradients": "all", "features": FEATURES}
    return Op(fn, vjp=vjp, **usual | {"deterministic": True} | claims)


def outputs(change: Callable[[np.ndarray, dict[str, Any]], np.ndarray]) -> Callable[..., Any]:
    """The scan with its first output changed."""

    def fn(**inputs: Any) -> Any:
        result = selective_scan(**inputs)
        if not isinstance(result, tuple):
            return change(result, inputs)
        return (change(result[0], inputs), *result[1:])

    return fn


def gradients(change: Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], None]) -> Callable[..., Any]:
    """The gradient, changed in place: given the gradients, the cotangents and the inputs."""

    def vjp(cotangents: Any, wrt: Any, saved: Any, **inputs: Any) -> dict[str, Any]:
        found = dict(selective_scan_vjp(cotangents, wrt, saved, **inputs))
        change(found, dict(cotangents), inputs)
        return found

    return vjp


def as_if_contiguous(**inputs: Any) -> Any:
    """The input as it lies in memory, in the order of its dimensions."""
    u = inputs["u"]
    flat = as_strided(u, (u.size,), (u.itemsize,)) if u.size else u
    return selective_scan(**inputs | {"u": flat.reshape(u.shape).copy()})


def short_offsets(**inputs: Any) -> Any:
    """Offsets in 32 bits: what lies further is read from where they wrap to."""
    u = inputs["u"]
    extent = sum((size - 1) * stride for size, stride in zip(u.shape, u.strides, strict=True))
    return selective_scan(**inputs | {"u": np.zeros_like(u) if extent // u.itemsize >= 2**31 else u})


def before_it_is_written(**inputs: Any) -> Any:
    """The output is added to memory that nobody has cleared."""
    y = np.empty_like(inputs["u"], order="C")
    result = selective_scan(**inputs)
    first = result[0] if isinstance(result, tuple) else result
    y += first
    return (y, *result[1:]) if isinstance(result, tuple) else y


def neighbour_written(**inputs: Any) -> Any:
    """One element after the input is overwritten, if it lies inside a larger array."""
    u = inputs["u"]
    if u.base is not None and u.base.size > u.size:
        flat = u.base.reshape(-1)
        after = (u.ctypes.data - u.base.ctypes.data) // u.itemsize + u.size
        if after < flat.size:
            flat[after] = 0
    return selective_scan(**inputs)


def neighbour_read(**inputs: Any) -> Any:
    """A mask is forgotten: zero times the element behind the input is added."""
    u = inputs["u"]
    behind = 0.0
    if u.base is not None and u.base.size > u.size:
        behind = float(u.base.reshape(-1)[-1])
    return outputs(lambda y, _: y + np.asarray(behind * 0, y.dtype))(**inputs)


def cotangent_written(cotangents: Any, wrt: Any, saved: Any, **inputs: Any) -> Any:
    """The backward pass scales the cotangent where it lies."""
    found = selective_scan_vjp(cotangents, wrt, saved, **inputs)
    cotangents["y"] *= 2
    return found


def expanded_cotangent(cotangents: Any, wrt: Any, saved: Any, **inputs: Any) -> Any:
    """A cotangent of stride zero is read as if it were dense."""
    r = cotangents["y"]
    if 0 in r.strides:
        cotangents = dict(cotangents) | {"y": np.where(np.arange(r.shape[-1]) == 0, r, 0).astype(r.dtype)}
    return selective_scan_vjp(cotangents, wrt, saved, **inputs)


def leaks_back(found: dict[str, Any], cotangents: dict[str, Any], inputs: dict[str, Any]) -> None:
    """The adjoint crosses a reset: the cotangent of the next sequence reaches this one."""
    if "seq_idx" in inputs or "cu_seqlens" in inputs:
        found["u"][..., :-1] += np.float32(1e-7) * cotangents["y"][..., 1:]


def unsummed(found: dict[str, Any], cotangents: dict[str, Any], inputs: dict[str, Any]) -> None:
    """With packed sequences an exp is missing in the gradient of A."""
    if "seq_idx" in inputs:
        found["A"] *= np.float32(1.001)


def of_batch(y: np.ndarray, inputs: dict[str, Any]) -> np.ndarray:
    """Rows are normalised with one another."""
    return y * np.asarray(1 + 1e-3 * (y.shape[0] > 1), y.dtype)


def by_position(y: np.ndarray, inputs: dict[str, Any]) -> np.ndarray:
    """Something is added at the steps before the first input."""
    silent = np.cumsum(np.abs(inputs["u"]), axis=-1) == 0
    return np.where(silent, np.asarray(1e-30, y.dtype), y)


def quadratic(y: np.ndarray, inputs: dict[str, Any]) -> np.ndarray:
    """A term of second order in the input."""
    return y + np.asarray(1e-3, y.dtype) * inputs["u"] ** 2


def race() -> Callable[..., Any]:
    """The third call of a process comes out otherwise, in one bit."""
    calls = itertools.count(1)

    def change(y: np.ndarray, _: dict[str, Any]) -> np.ndarray:
        if next(calls) % 3 == 0 and y.size:
            y = y.copy()
            y.reshape(-1)[0] = np.nextafter(y.reshape(-1)[0], np.asarray(9, y.dtype))
        return y

    return outputs(change)


def resumed(**inputs: Any) -> Any:
    """A scan that goes on has its first step wrong, if the piece has exactly three steps."""
    if "initial_state" in inputs and inputs["u"].shape[-1] == 3:
        inputs |= {"initial_state": inputs["initial_state"] * np.float32(0.999)}
    return selective_scan(**inputs)


def unchecked_value(**inputs: Any) -> Any:
    """The rule of B is in the signature, and ignored."""
    inputs.pop("b_discretization", None)
    return selective_scan(**inputs)
