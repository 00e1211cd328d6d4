"""``stand_in``: code that imports mamba-ssm or causal-conv1d finds the functions of this package."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from threading import Lock
from types import ModuleType
from typing import Final

from ssm_backends.errors import ArgumentError, UnavailableError
from ssm_backends.mamba_ssm import chunk_scan, convolution, convolution_update, inner, selective_scan, split
from ssm_backends.mamba_ssm import state_update as update

_SCANS: Final = (
    selective_scan.selective_scan_fn,
    selective_scan.selective_scan_ref,
    inner.mamba_inner_fn,
    inner.mamba_inner_ref,
)
_CONVOLUTIONS: Final = (convolution.causal_conv1d_fn, convolution_update.causal_conv1d_update)
_MODULES: Final = {
    "mamba_ssm": (selective_scan.selective_scan_fn, inner.mamba_inner_fn),
    "mamba_ssm.ops": (),
    "mamba_ssm.ops.selective_scan_interface": _SCANS,
    "mamba_ssm.ops.triton": (),
    "mamba_ssm.ops.triton.selective_state_update": (
        update.selective_state_update,
        update.selective_state_update_ref,
    ),
    "mamba_ssm.ops.triton.ssd_combined": (
        chunk_scan.mamba_chunk_scan_combined,
        split.mamba_split_conv1d_scan_combined,
    ),
    "causal_conv1d": _CONVOLUTIONS,
    "causal_conv1d.causal_conv1d_interface": _CONVOLUTIONS,
}
"""The modules of both packages, parents first, and the functions that each holds."""
_PACKAGES: Final = ("mamba_ssm", "causal_conv1d")
_STANDING: Final[dict[str, ModuleType]] = {}
_ASKING: Final = Lock()
"""Held from the look at what is there until all is: another thread finds nothing or everything."""


def stand_in(*packages: str) -> None:
    """Let ``import mamba_ssm`` and ``import causal_conv1d`` find the functions of this package.

    For code that asks for those packages by itself, as the models of transformers do. It holds for the
    process. Only functions are there, each where the package has it; what else is imported of it is an
    ImportError, as where it is not installed.

    Parameters
    ----------
    packages
        Which: "mamba_ssm", "causal_conv1d"; both if none is named.

    Returns
    -------
    None. Another call changes nothing.

    Raises
    ------
    ArgumentError
        If another package is named, or one that is installed here, which is not replaced.
    UnavailableError
        If a model of transformers that looks for them has been imported: it looks once.
    """
    for name in packages:
        if name not in _PACKAGES:
            listed = " or ".join(map(repr, _PACKAGES))
            raise ArgumentError(f"`packages` must be {listed}; got {name!r}")
    with _ASKING:
        wanted = [name for name in packages or _PACKAGES if not _stands(name)]
        for name in wanted:
            if name in sys.modules or find_spec(name) is not None:
                raise ArgumentError(
                    f"`packages` must name none that is installed here; got {name!r}, which is"
                )
        if wanted:
            _refuse_if_late()
        for name, functions in _MODULES.items():
            if name.partition(".")[0] in wanted:
                _register(name, functions)


def _stands(name: str) -> bool:
    """Whether this package stands in for the one of that name already."""
    return name in _STANDING and sys.modules.get(name) is _STANDING[name]


def _refuse_if_late() -> None:
    for name, module in sys.modules.copy().items():
        held = getattr(module, "__dict__", {})  # None stands there for what nobody is to import
        if name.startswith("transformers.models.") and "causal_conv1d_fn" in held:
            raise UnavailableError(f"call stand_in before {name} is imported: it has chosen its functions")


def _register(name: str, functions: tuple[object, ...]) -> None:
    """A module of these functions, in the table of modules and in its parent."""
    module = ModuleType(name, f"{name.partition('.')[0]} as ssm_backends.mamba_ssm has it.")
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    for function in functions:
        setattr(module, function.__name__, function)  # type: ignore[attr-defined] # a function has its name
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
    sys.modules[name] = _STANDING[name] = module
