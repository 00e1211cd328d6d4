"""Honest and dishonest ways to compute the linear rooms in any precision, in PyTorch for its gradients."""

from __future__ import annotations

from typing import Any

import torch

from ssm_spec import Arithmetic

Tensor = torch.Tensor
IN_CHUNKS = {
    "chunk": Arithmetic(evaluation="chunk", chunk=2),
    "matmul_chunk": Arithmetic(evaluation="matmul_chunk", chunk=2),
    "any": Arithmetic(),
}
"""Evaluations that may form products before there is a state."""
SCAN = Arithmetic(evaluation="scan")
"""One that may not."""


def augmented(A: Tensor, B: Tensor, delta: Tensor) -> Tensor:
    n, m = B.shape[-2:]
    top = delta[..., None, None] * torch.cat((A, B), -1)
    return torch.cat((top, torch.zeros(*top.shape[:-2], m, n + m, dtype=A.dtype)), -2)


def blocks(E: Tensor, n: int) -> dict[str, Tensor]:
    return {"A_bar": E[..., :n, :n], "B_bar": E[..., :n, n:]}


def zoh_matrix_exp(A: Tensor, B: Tensor, delta: Tensor) -> dict[str, Tensor]:
    return blocks(torch.linalg.matrix_exp(augmented(A, B, delta)), A.shape[-1])


def zoh_taylor(A: Tensor, B: Tensor, delta: Tensor, *, norm: float = 0.2, lost: int = 0) -> dict[str, Tensor]:
    """Scale to a norm, sum 16 terms (but one, if lost), square."""
    X = augmented(A, B, delta)
    largest = float(X.detach().abs().sum(-2).max())
    squarings = 0
    while largest > norm:
        largest, squarings = largest / 2, squarings + 1
    Z = X / 2**squarings
    term = total = torch.eye(X.shape[-1], dtype=X.dtype).expand_as(X)
    for k in range(1, 17):
        term = term @ Z / k
        total = total if k == lost else total + term
    for _ in range(squarings):
        total = total @ total
    return blocks(total, A.shape[-1])


def zoh_off_by_a_little(A: Tensor, B: Tensor, delta: Tensor) -> dict[str, Tensor]:
    return zoh_matrix_exp(A, B, delta * (1 + 1e-5))


def euler(A: Tensor, B: Tensor, delta: Tensor) -> dict[str, Tensor]:
    X = delta[..., None, None] * A
    return {"A_bar": torch.eye(A.shape[-1], dtype=A.dtype) + X, "B_bar": delta[..., None, None] * B}


def euler_input(A: Tensor, B: Tensor, delta: Tensor) -> dict[str, Tensor]:
    return {**zoh_matrix_exp(A, B, delta), "B_bar": delta[..., None, None] * B}


def zoh_modes(A: Tensor, B: Tensor, delta: Tensor) -> dict[str, Tensor]:
    """As Δ φ₁(p), φ₁ by its series where p is small: PyTorch's own gradient of expm1(p)/λ cancels there."""
    p = delta[..., None] * A
    near = p.abs() < 0.5
    small, far = torch.where(near, p, 0.25), torch.where(near, torch.ones_like(p), p)
    series = torch.zeros_like(p)
    for k in range(14, 0, -1):
        series = (1 + series) * small / (k + 1)
    phi1 = torch.where(near, 1 + series, torch.expm1(far) / far)
    return {"A_bar": torch.exp(p), "B_bar": (delta[..., None] * phi1)[..., None] * B}


class _Expm1(torch.autograd.Function):
    """expm1, whose slope is exp(p); PyTorch takes expm1(p) + 1, which has lost e^p where that is below u."""

    @staticmethod
    def forward(ctx: Any, p: Tensor) -> Tensor:
        ctx.save_for_backward(p)
        return torch.expm1(p)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (p,) = ctx.saved_tensors
        return grads[0] * torch.exp(p).conj()


def zoh_strong_modes(A: Tensor, B: Tensor, delta: Tensor, *, by_autograd: bool = False) -> dict[str, Tensor]:
    """As expm1(p)/λ, for modes far from λ = 0."""
    p = delta[..., None] * A
    grown = torch.expm1(p) if by_autograd else _Expm1.apply(p)
    return {"A_bar": torch.exp(p), "B_bar": (grown / A)[..., None] * B}


def zoh_modes_subtracting(A: Tensor, B: Tensor, delta: Tensor) -> dict[str, Tensor]:
    a = torch.exp(delta[..., None] * A)
    return {"A_bar": a, "B_bar": ((a - 1) / A)[..., None] * B}


def bilinear_solve(A: Tensor, B: Tensor, delta: Tensor, *, alpha: float = 0.5) -> dict[str, Tensor]:
    X, eye = delta[..., None, None] * A, torch.eye(A.shape[-1], dtype=A.dtype)
    W = eye - alpha * X
    both = torch.linalg.solve(W, torch.cat((eye + (1 - alpha) * X, delta[..., None, None] * B), -1))
    return blocks(both, A.shape[-1])


def bilinear_inverse(A: Tensor, B: Tensor, delta: Tensor) -> dict[str, Tensor]:
    X, eye = delta[..., None, None] * A, torch.eye(A.shape[-1], dtype=A.dtype)
    inverse = torch.linalg.inv(eye - X / 2)
    return {"A_bar": inverse @ (eye + X / 2), "B_bar": inverse @ (delta[..., None, None] * B)}


def bilinear_modes(A: Tensor, B: Tensor, delta: Tensor) -> dict[str, Tensor]:
    p = delta[..., None] * A
    return {"A_bar": (1 + p / 2) / (1 - p / 2), "B_bar": (delta[..., None] / (1 - p / 2))[..., None] * B}


def bilinear_too_implicit(A: Tensor, B: Tensor, delta: Tensor) -> dict[str, Tensor]:
    return bilinear_solve(A, B, delta, alpha=0.501)


def advance(A: Tensor, h: Tensor) -> Tensor:
    return A * h if A.ndim == 1 else h @ A.T


def recurrence(
    A_bar: Tensor, B_bar: Tensor, C: Tensor, u: Tensor, D: Tensor, initial_state: Tensor, *, lag: int = 0
) -> dict[str, Tensor]:
    """One system, in time order; u (b, m, l). With lag = 1 the output misses its own input, as in dlsim."""
    h, ys = initial_state, []
    for t in range(u.shape[-1]):
        before = h
        h = advance(A_bar, h) + u[..., t].to(B_bar.dtype) @ B_bar.T
        ys.append(read(A_bar, C, before if lag else h) + u[..., t] @ D.T)
    return {"y": torch.stack(ys, -1), "last_state": h}


def read(A: Tensor, C: Tensor, h: Tensor) -> Tensor:
    y = h @ C.T
    return 2 * y.real if A.ndim == 1 and A.is_complex() else y


def kogge_stone(
    A_bar: Tensor, B_bar: Tensor, C: Tensor, u: Tensor, D: Tensor, initial_state: Tensor
) -> dict[str, Tensor]:
    """Modes by the associative scan, every product of decays formed."""
    x = torch.movedim(u, -1, 0).to(B_bar.dtype) @ B_bar.T
    x = torch.cat(((x[:1] + A_bar * initial_state), x[1:]))
    a = A_bar.expand_as(x)
    step = 1
    while step < len(x):
        x = torch.cat((x[:step], a[step:] * x[:-step] + x[step:]))
        a = torch.cat((a[:step], a[step:] * a[:-step]))
        step *= 2
    y = read(A_bar, C, x) + torch.movedim(u, -1, 0) @ D.T
    return {"y": torch.movedim(y, 0, -1), "last_state": x[-1]}


def chunked(
    A_bar: Tensor, B_bar: Tensor, C: Tensor, u: Tensor, D: Tensor, initial_state: Tensor, *, Q: int = 64
) -> dict[str, Tensor]:
    """Modes in chunks, decays within one as powers."""
    x, h, ys = torch.movedim(u, -1, 0).to(B_bar.dtype) @ B_bar.T, initial_state, []
    for part in torch.split(x, Q):
        j = torch.arange(len(part))
        table = A_bar ** torch.clamp(j[:, None] - j[None, :], min=0)[..., None].to(u.dtype)
        decays = torch.where((j[:, None] >= j[None, :])[..., None], table, 0)
        inside = torch.einsum("tsn,sbn->tbn", decays, part)
        states = inside + A_bar ** (j + 1.0)[:, None, None].to(u.dtype) * h
        h = states[-1]
        ys.append(read(A_bar, C, states))
    y = torch.cat(ys) + torch.movedim(u, -1, 0) @ D.T
    return {"y": torch.movedim(y, 0, -1), "last_state": h}


def products_first(
    A_bar: Tensor, B_bar: Tensor, C: Tensor, u: Tensor, D: Tensor, initial_state: Tensor, *, Q: int = 64
) -> dict[str, Tensor]:
    """Modes in chunks, a kernel C a^j B of each chunk first, its times and inputs summed at once."""
    dtype = B_bar.dtype
    powers = torch.stack([A_bar**j for j in range(Q + 1)])
    read = C * powers[:, None]
    K, h, ys = (2 * (read @ B_bar).real if A_bar.is_complex() else read @ B_bar), initial_state, []
    for part in torch.split(torch.movedim(u, -1, 0), Q):
        q = len(part)
        lags = [torch.cat((K[:t].flip(0), K.new_zeros(q - t, *K.shape[1:]))) for t in range(1, q + 1)]
        inside = torch.einsum("tspm,sbm->tbp", torch.stack(lags), part)
        carried = torch.einsum("tpn,bn->tbp", read[1 : q + 1], h)
        ys.append(inside + (2 * carried.real if A_bar.is_complex() else carried))
        h = powers[q] * h + torch.einsum("tn,nm,tbm->bn", powers[:q].flip(0), B_bar, part.to(dtype))
    y = torch.cat(ys) + torch.movedim(u, -1, 0) @ D.T
    return {"y": torch.movedim(y, 0, -1), "last_state": h}


def half_state(
    A_bar: Tensor, B_bar: Tensor, C: Tensor, u: Tensor, D: Tensor, initial_state: Tensor
) -> dict[str, Tensor]:
    """The state kept in bfloat16 between steps."""
    h, ys = initial_state, []
    for t in range(u.shape[-1]):
        h = (advance(A_bar, h) + u[..., t] @ B_bar.T).bfloat16().to(u.dtype)
        ys.append(read(A_bar, C, h) + u[..., t] @ D.T)
    return {"y": torch.stack(ys, -1), "last_state": h}


def kernel_in_order(
    A_bar: Tensor, B_bar: Tensor, C: Tensor, *, length: int, skip: int = 0
) -> dict[str, Tensor]:
    V, terms = B_bar, []
    for _ in range(length + skip):
        terms.append(C @ V)
        V = A_bar @ V
    return {"K": torch.stack(terms[skip:], -1)}


def kernel_doubling(A_bar: Tensor, B_bar: Tensor, C: Tensor, *, length: int) -> dict[str, Tensor]:
    V, P, m = B_bar, A_bar, B_bar.shape[-1]
    while V.shape[-1] < m * length:
        V, P = torch.cat((V, P @ V), -1), P @ P
    K = C @ V
    return {"K": K.reshape(len(C), -1, m)[:, :length].transpose(-1, -2)}


def kernel_from_output(A_bar: Tensor, B_bar: Tensor, C: Tensor, *, length: int) -> dict[str, Tensor]:
    K = kernel_in_order(A_bar.T, C.T, B_bar.T, length=length)["K"]
    return {"K": K.transpose(0, 1)}


def vandermonde(C: Tensor, table: Tensor, B: Tensor) -> dict[str, Tensor]:
    K = torch.einsum("pn,nm,nl->pml", C, B, table)
    return {"K": 2 * K.real if K.is_complex() else K}


def kernel_by_logarithm(A_bar: Tensor, B_bar: Tensor, C: Tensor, *, length: int) -> dict[str, Tensor]:
    j = torch.arange(length).to(A_bar.real.dtype)
    return vandermonde(C, torch.exp(torch.log(A_bar)[:, None] * j), B_bar)


def kernel_by_products(A_bar: Tensor, B_bar: Tensor, C: Tensor, *, length: int) -> dict[str, Tensor]:
    table = [torch.ones_like(A_bar)]
    for _ in range(length - 1):
        table.append(table[-1] * A_bar)
    return vandermonde(C, torch.stack(table, -1), B_bar)


def kernel_unpaired(A_bar: Tensor, B_bar: Tensor, C: Tensor, *, length: int) -> dict[str, Tensor]:
    """The factor 2 of the conjugate mode forgotten."""
    return {"K": kernel_by_products(A_bar, B_bar, C, length=length)["K"] / 2}


def convolution_direct(u: Tensor, K: Tensor, *, late: int = 0) -> dict[str, Tensor]:
    k, l = K.shape[-1], u.shape[-1]
    padded = torch.nn.functional.pad(u, (k - 1 + late, 0))
    return {"y": torch.nn.functional.conv1d(padded, K.flip(-1)[:, None], groups=len(K))[..., :l]}


def convolution_fft(u: Tensor, K: Tensor, *, points: int = 0) -> dict[str, Tensor]:
    size = points or 2 ** (u.shape[-1] + K.shape[-1]).bit_length()
    F = torch.fft
    return {"y": F.irfft(F.rfft(u, size) * F.rfft(K, size), size)[..., : u.shape[-1]]}


def convolution_circular(u: Tensor, K: Tensor) -> dict[str, Tensor]:
    """No padding: what leaves on the right comes back on the left."""
    return convolution_fft(u, K, points=u.shape[-1])


def full_products_first(
    A_bar: Tensor, B_bar: Tensor, C: Tensor, u: Tensor, D: Tensor, initial_state: Tensor, *, Q: int = 64
) -> dict[str, Tensor]:
    """A full Ā in chunks, its powers and a kernel C Āʲ B of each chunk first."""
    powers = [torch.eye(len(A_bar), dtype=A_bar.dtype)]
    for _ in range(Q):
        powers.append(powers[-1] @ A_bar)
    reads = [C @ P for P in powers]
    K, drives, h, ys = [R @ B_bar for R in reads], [P @ B_bar for P in powers], initial_state, []
    for part in torch.split(torch.movedim(u, -1, 0).to(B_bar.dtype), Q):
        for t in range(len(part)):
            inside = sum(part[s] @ K[t - s].T for s in range(t + 1))
            ys.append(inside + h @ reads[t + 1].T)
        q = len(part)
        h = h @ powers[q].T + sum(part[s] @ drives[q - 1 - s].T for s in range(q))
    y = torch.stack(ys) + torch.movedim(u, -1, 0) @ D.T
    return {"y": torch.movedim(y, 0, -1), "last_state": h}
