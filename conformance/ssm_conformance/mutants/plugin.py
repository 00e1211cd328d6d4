"""The mutants as a plugin like any other, for ``--plugin ssm_conformance.mutants.plugin --device NAME``.

A mutant's name stands where a device would, so that every command that takes a plugin takes every mutant.
"""

from __future__ import annotations

from ssm_backends import Backend, UnavailableError, hookimpl
from ssm_conformance.mutants import HONEST, MUTANTS, backend


@hookimpl
def ssm_backend(device: str | None) -> Backend:
    """Hand over the mutant, or the honest implementation, of that name."""
    if device is None or (device not in HONEST and device not in MUTANTS):
        raise UnavailableError(f"`device` must name a mutant; got {device!r}")
    return backend(device)
