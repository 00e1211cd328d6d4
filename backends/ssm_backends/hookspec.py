"""The one hook of a plugin, and the marks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pluggy

if TYPE_CHECKING:
    from ssm_backends.backend import Backend

PROJECT: Final = "ssm_backends"
hookspec: Final = pluggy.HookspecMarker(PROJECT)
hookimpl: Final = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's implementation of :func:`ssm_backend`."""


@hookspec(firstresult=True)
def ssm_backend(device: str | None) -> Backend:
    """Hand over the backend.

    Parameters
    ----------
    device
        "cuda", "cuda:1", "cpu"; None for the backend's own default.

    Raises
    ------
    UnavailableError
        If the device cannot be served here, with the reason.
    """
    raise AssertionError("a hook specification is never called")
