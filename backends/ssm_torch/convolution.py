"""The causal convolution of every channel with its own kernel, by the fast Fourier transform."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm_torch.functions import compute_dtype, split


def causal_convolution(u: Tensor, K: Tensor) -> Tensor:
    """y_t = Σ_j K_j u_{t−j}, in l log l operations (Gu, Goel & Ré 2021, S4, equation 4).

    The error is small beside the largest term of a channel, not beside each output: a
    transform mixes all times. So a later input moves an earlier output by some roundings.

    Parameters
    ----------
    u : (b, d, l)
    K : (d, k), k below or above l

    Returns
    -------
    y : (b, d, l), dtype of u
    """
    l = u.shape[2]
    if u.numel() == 0:
        return u * K.sum()  # of both inputs, so that both have a gradient: zero
    compute = compute_dtype(u, K)
    kernel = K[:, :l].to(compute)
    lags = l + kernel.shape[1] - 2
    if isinstance(lags, Tensor):  # of a trace by torch.jit, which warns that it is a number from now on
        lags = int(lags)
    size = 1 << lags.bit_length()  # no wrap-around: at least l + k − 1
    spectrum = _transform(u.to(compute), size) * torch.fft.rfft(kernel, n=size)
    y: Tensor = torch.fft.irfft(spectrum, n=size)[..., :l]
    return y.to(u.dtype).contiguous()


def _transform(u: Tensor, size: int) -> Tensor:
    """The transform of (b, d, l); in a graph, of b·d signals, whose spectra lie in order.

    Of complex numbers that lie in another order Inductor makes an array for the backward pass and does not
    fill it (PyTorch 2.13 on a CPU): the gradient of the kernel was what memory held.
    """
    signals = u.flatten(0, 1) if torch.compiler.is_compiling() else u
    spectra: Tensor = torch.fft.rfft(signals, n=size)
    return spectra if signals is u else split(spectra, 0, (u.shape[0], u.shape[1]))
