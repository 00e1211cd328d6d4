"""What a layer may lose that convolves its kernel by fast Fourier transforms.

    y = K * u + C Ā^{k+1} h₋₁ + D u,    |error| <= E_K * |u| + |K| * E_u + ε(|K| + E_K, |u| + E_u) + ...

E_K is the kernel's own error: the response to an impulse by the perturbed recurrence, and powers or
repeated doubling by `ssm_kernel_bounds`. ε is the transforms' error, by norm (`fft_error`), of what is
transformed: what is wrong of u at one time, however small the rest, is spread over all. Backwards,
dK = Σ r ⋆ u is wrong by the same, and its error enters the adjoint of the impulse response as the
error of a cotangent. What the transforms and the kernel reach on their way has to stay in range
(`fft_reach`): of u and K, of r and K, and of r and u.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ssm_spec import _recurrence as rec
from ssm_spec._convolution import convolve, correlate, fft_error, fft_reach
from ssm_spec._kernel_bounds import ssm_kernel_bounds, ssm_kernel_vjp_bounds
from ssm_spec._layer_errors import (
    Wrong,
    backward_errors,
    forward_errors,
    gradient_errors,
    largest,
    output_error,
    roundings_of_reads,
)
from ssm_spec._products import Inexact, beyond, exactly, nonzero, product_error
from ssm_spec._recurrence_range import Sizes, reach_of_gradients
from ssm_spec._roundoff import Arithmetic
from ssm_spec._validate import Array, Float


def output_by_fft(call: rec.Recurrence, wrong: Wrong, arithmetic: Arithmetic) -> tuple[Float, Float]:
    """Return the error of y (b, s, p, l) by kernel and transforms, and the largest number on its way."""
    in_time = replace(arithmetic, evaluation="any")
    K, E_K, inside = _kernel(call, wrong, in_time)
    reach = np.where(inside, 0.0, np.inf).max(axis=2, initial=0.0) + np.zeros((len(call.u), 1, 1))
    u, length = np.abs(call.u), call.u.shape[-1]
    # D u may come before what the transforms give of each input, and before the initial state.
    n = call.C.shape[-1] if np.any(call.initial) else 0
    passed = nonzero(call.D, -1) + K.shape[2]
    _, roundings = roundings_of_reads(n, passed, 0.0, np.iscomplexobj(call.C), wrong)
    convolved = arithmetic.u * (1.0 if wrong.weighted is None else roundings)
    total = product_error("spm,bsml->bspl", exactly(call.D), Inexact(call.u, wrong.u), arithmetic)
    total = total + beyond(roundings, call.D, -1, arithmetic) * (np.abs(call.D) @ (u + wrong.u))
    for p, m in np.ndindex(K.shape[1:3]):
        entering, size = u[:, :, m] + wrong.u[:, :, m], np.abs(K[:, p, m])
        moved = convolve(entering, E_K[:, p, m]) + convolve(wrong.u[:, :, m], size)
        inexact = Inexact(call.u[:, :, m], wrong.u[:, :, m]), Inexact(K[:, p, m], E_K[:, p, m])
        by_norm = _kept(fft_error(*inexact, arithmetic, rows=K.shape[2]), length)
        total[:, :, p] += moved + by_norm + convolved * convolve(entering, size)
        reach[:, :, p] += fft_reach(entering, size + E_K[:, p, m])
    total = total * (1 + (K.shape[2] + 2) * arithmetic.u)
    if np.any(call.initial):
        alone = call._replace(u=np.zeros_like(call.u))
        still = wrong._replace(u=np.zeros_like(wrong.u))
        states = rec.run(alone)
        errors = forward_errors(alone, states, still, in_time, own=False)
        total = total + largest([output_error(alone, states, e, still, in_time) for e in errors])
    return np.asarray(total), np.broadcast_to(reach[..., None], total.shape)


def gradients_by_fft(
    call: rec.Recurrence, r: Array, wrong: Wrong, arithmetic: Arithmetic
) -> tuple[dict[str, Float], dict[str, Float]]:
    """Return the errors of the gradients of Ā, B̄, C and u by kernel and transforms, and what they reach."""
    in_time = replace(arithmetic, evaluation="any")
    K, E_K, inside = _kernel(call, wrong, in_time)
    dK, E_dK, peak = _kernel_gradient(call, r, wrong, arithmetic)
    length = call.u.shape[-1]
    flipped, E_r = np.abs(r[..., ::-1]), wrong.r[..., ::-1]
    _, roundings = roundings_of_reads(0, nonzero(call.D, -2) + K.shape[1], 0.0, False, wrong)
    convolved = arithmetic.u * (1.0 if wrong.weighted is None else roundings)
    D = np.swapaxes(np.abs(call.D), -1, -2)
    du = product_error("spm,bspl->bsml", exactly(call.D), Inexact(r, wrong.r), arithmetic)
    du = du + beyond(roundings, D, -1, arithmetic) * (D @ (np.abs(r) + wrong.r))
    reach = np.where(inside, 0.0, np.inf).max(axis=1, initial=0.0) + np.zeros((len(call.u), 1, 1))
    for p, m in np.ndindex(K.shape[1:3]):
        entering, size = flipped[:, :, p] + E_r[:, :, p], np.abs(K[:, p, m])
        moved = convolve(entering, E_K[:, p, m]) + convolve(E_r[:, :, p], size)
        inexact = Inexact(r[:, :, p, ::-1], E_r[:, :, p]), Inexact(K[:, p, m], E_K[:, p, m])
        by_norm = _kept(fft_error(*inexact, arithmetic, rows=K.shape[1]), length)
        du[:, :, m] += (moved + by_norm + convolved * convolve(entering, size))[..., ::-1]
        reach[:, :, m] += fft_reach(entering, size + E_K[:, p, m])
    response, still = _impulse_response(call, wrong)
    states, cotangent = rec.run(response), np.moveaxis(dK, 2, 0)
    still = still._replace(r=np.moveaxis(E_dK, 2, 0))
    adjoints = rec.run_back(response, cotangent, np.zeros(response.initial.shape))
    ahead = forward_errors(response, states, still, in_time, own=False)
    back = backward_errors(response, adjoints, cotangent, still, in_time, own=False)
    classes = [
        gradient_errors(response, states, adjoints, cotangent, e, f, still, in_time)
        for e, f in zip(ahead, back, strict=True)
    ]
    arguments = {**_kernel_arguments(call), "length": length}
    by_powers = ssm_kernel_vjp_bounds({"K": dK}, arithmetic=in_time, **arguments)
    found = {
        name: largest([one[name] for one in classes]) + by_powers[name].bound
        for name in ("A_bar", "B_bar", "C")
    }
    sizes = Sizes.of(response, cotangent)._replace(r=np.abs(cotangent) + still.r)
    reached = reach_of_gradients(response, sizes, states, adjoints, ahead, back, in_time)
    reaches = {
        name: np.maximum(np.where(by_powers[name].judged, reached[name], np.inf), _of_systems(peak, error))
        for name, error in found.items()
    }
    errors = {**found, "u": np.asarray(du * (1 + (K.shape[1] + 2) * arithmetic.u))}
    return errors, {**reaches, "u": np.broadcast_to(reach[..., None], du.shape)}


def _of_systems(met: Float, like: Float) -> Float:
    """Return the largest of each system, (s, p, m), beside the axes of an array that begins with s."""
    return np.asarray(met.max(axis=(1, 2), initial=0.0).reshape(-1, *(1,) * (like.ndim - 1)))


def _kernel(
    call: rec.Recurrence, wrong: Wrong, arithmetic: Arithmetic
) -> tuple[Array, Float, NDArray[np.bool_]]:
    """Return K (s, p, m, l), what it may be wrong by, and whether it is judged at every lag (s, p, m)."""
    response, still = _impulse_response(call, wrong)
    states = rec.run(response)
    errors = forward_errors(response, states, still, arithmetic, own=False)
    perturbed = largest([output_error(response, states, e, still, arithmetic) for e in errors])
    arguments = _kernel_arguments(call)
    exact = ssm_kernel_bounds(arithmetic=arithmetic, length=call.u.shape[-1], **arguments)["K"]
    return exact.value, exact.bound + np.moveaxis(perturbed, 0, 2), np.asarray(exact.judged.all(axis=-1))


def _kernel_gradient(
    call: rec.Recurrence, r: Array, wrong: Wrong, arithmetic: Arithmetic
) -> tuple[Array, Float, Float]:
    """Return dK = Σ_b r ⋆ u (s, p, m, l), its error by transforms, and what they reach (s, p, m)."""
    b, s, m, length = call.u.shape
    p = r.shape[2]
    dK, error, reach = (np.zeros((s, p, m, *lags)) for lags in ((length,), (length,), ()))
    for i, j in np.ndindex(p, m):
        u, x = call.u[:, :, j], r[:, :, i]
        dK[:, i, j] = correlate(x, u, length)
        sizes = correlate(np.abs(x), np.abs(u), length)
        error[:, i, j] = (
            correlate(wrong.r[:, :, i], np.abs(u) + wrong.u[:, :, j], length)
            + correlate(np.abs(x), wrong.u[:, :, j], length)
            + (b + 1) * arithmetic.u * sizes
        )
        for k in range(b):
            inexact = Inexact(x[k : k + 1], wrong.r[k : k + 1, :, i]), Inexact(u[k], wrong.u[k, :, j])
            error[:, i, j] += _kept(fft_error(*inexact, arithmetic, rows=b), length)[0]
            reach[:, i, j] += fft_reach(*(np.abs(x.value) + x.error for x in inexact))[0]
    return dK, error, reach


def _kept(row: Float, length: int) -> Float:
    """Return an error (b, s) of whole rows for each of their elements, (b, s, l)."""
    return np.broadcast_to(row[..., None], (*row.shape, length))


def _impulse_response(call: rec.Recurrence, wrong: Wrong) -> tuple[rec.Recurrence, Wrong]:
    """Return the system with a one in each input, (m, s, m, l), no D and no initial state."""
    _, s, m, length = call.u.shape
    u = np.zeros((m, s, m, length))
    if length:
        for i in range(m):
            u[i, :, i, 0] = 1.0
    p, n = call.C.shape[-2:]
    initial = np.zeros((m, s, n), dtype=call.A.dtype)
    response = call._replace(u=u, D=np.zeros_like(call.D), initial=initial)
    return response, Wrong(wrong.A, wrong.B, np.zeros_like(u), np.zeros((m, s, p, length)))


def _kernel_arguments(call: rec.Recurrence) -> dict[str, Array | bool]:
    return {"A_bar": call.A, "B_bar": call.B, "C": call.C, "diagonal": call.diagonal}
