"""What all code in a process shares of PyTorch, where it is loaded; it is not loaded for this."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, Final

from ssm_conformance.manners.part import Part


def _get(name: str, default: Any) -> Any:
    """What a function of PyTorch without arguments gives; what it would give at first, if not loaded."""
    function = getattr(sys.modules.get("torch"), name, None)
    return default if function is None else function()


def _set(name: str, value: Any) -> None:
    getattr(sys.modules["torch"], name)(value)


def _setting(words: str, get: str, put: str, default: Any) -> Part:
    """A part that one function of PyTorch reads and another one writes."""
    return Part(f"PyTorch's {words}", partial(_get, get, default), partial(_set, put), told=_arrow)


def _arrow(before: Any, after: Any) -> str:
    return f"{before} → {after}"


def _default_dtype() -> str:
    return str(_get("get_default_dtype", "torch.float32")).removeprefix("torch.")


def _set_default_dtype(before: str) -> None:
    _set("set_default_dtype", getattr(sys.modules["torch"], before))


def _default_device() -> str:
    return str(_get("get_default_device", "cpu"))


def _set_default_device(before: str) -> None:
    _set("set_default_device", None if before == "cpu" else before)  # None: as if it had never been set


def _other(before: Any, after: Any) -> bool:
    """Whether it differs, if it was loaded before: threads are at first the machine's, and seeds random."""
    return before is not None and before != after


def _random_state() -> bytes | None:
    state = _get("get_rng_state", None)
    return None if state is None else bytes(state.numpy().tobytes())


PARTS: Final = (
    Part("PyTorch's default dtype", _default_dtype, _set_default_dtype, told=_arrow),
    Part("PyTorch's default device", _default_device, _set_default_device, told=_arrow),
    _setting("gradient mode", "is_grad_enabled", "set_grad_enabled", True),
    Part(
        "PyTorch's number of threads",
        partial(_get, "get_num_threads", None),
        partial(_set, "set_num_threads"),
        _other,
        _arrow,
    ),
    _setting(
        "precision of matrix products",
        "get_float32_matmul_precision",
        "set_float32_matmul_precision",
        "highest",
    ),
    _setting(
        "demand for deterministic algorithms",
        "are_deterministic_algorithms_enabled",
        "use_deterministic_algorithms",
        False,
    ),
    # Put back, it would make a backend repeatable that draws from it.
    Part("PyTorch's shared random state", _random_state, None, _other),
)
