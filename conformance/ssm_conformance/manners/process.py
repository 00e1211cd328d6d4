"""What all code in a process shares of Python, of NumPy and of the processor."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import warnings
from contextlib import suppress
from typing import Any, Final

import numpy as np

from ssm_conformance.manners.part import Part

SIGNALS: Final = tuple(map(int, signal.valid_signals()))


def _folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was deleted
        return None


def _change_folder(folder: str | None) -> None:
    if folder is not None:
        with suppress(FileNotFoundError):
            os.chdir(folder)


def _streams() -> tuple[Any, ...]:
    """The standard streams, and whether each can still be used."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return (*streams, *(getattr(stream, "closed", True) for stream in streams))


def _open_streams(before: tuple[Any, ...]) -> None:
    sys.stdin, sys.stdout, sys.stderr = before[:3]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name).closed:
            _fill(number)
            mode = "r" if name == "stdin" else "w"
            stream = open(number, mode, errors="backslashreplace", closefd=False)  # noqa: SIM115  it stays open
            setattr(sys, name, stream)


def _fill(descriptor: int) -> None:
    """Open the null device under a descriptor that was closed; a worker then leads it to its log again."""
    try:
        os.fstat(descriptor)
    except OSError:
        nothing = os.open(os.devnull, os.O_RDWR)
        if nothing != descriptor:
            os.dup2(nothing, descriptor)
            os.close(nothing)


def _other_filters(before: list[Any], after: list[Any]) -> bool:
    """Whether filters are lost, or one is new that raises, or that is about every warning.

    Imports add others, which ignore one kind of warning.
    """
    new = [entry for entry in after if entry not in before]
    return len(after) < len(before) or any(entry[0] == "error" or _about_all(entry) for entry in new)


def _about_all(entry: Any) -> bool:
    _, message, category, module, line = entry
    return message is None and module is None and category is Warning and not line


def _set_filters(filters: list[Any]) -> None:
    warnings.resetwarnings()  # which also forgets what was shown under the other filters
    warnings.filters[:] = filters  # type: ignore[index]  # typed as a sequence; it is a list


def _handlers() -> tuple[bool, dict[int, Any]]:
    """Whether an alarm is set, and the handler of each signal."""
    alarm = hasattr(signal, "getitimer") and signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0)
    return alarm, {number: signal.getsignal(number) for number in SIGNALS}


def _set_handlers(before: tuple[bool, dict[int, Any]]) -> None:
    if threading.current_thread() is not threading.main_thread():
        return  # Python allows it nowhere else, and a backend's thread cannot have set one either
    alarm, handlers = before
    if hasattr(signal, "alarm") and not alarm:
        signal.alarm(0)
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) != handler:
            signal.signal(number, handler)


def _set_errors(before: dict[str, Any]) -> None:
    np.seterr(**before)


def _float_unit() -> tuple[bool, bool, bool]:
    """Whether subnormal numbers are kept, and sums rounded to nearest, up and down: (True, True, True)."""
    tiny, one, half_ulp = np.array([5e-324]), np.array([1.0]), np.array([2.0**-54])
    return bool((tiny * one > 0)[0]), bool((one + half_ulp == 1)[0]), bool((one - half_ulp == 1)[0])


def _set_float_unit(before: tuple[bool, bool, bool]) -> None:
    """Back to the C library's default: nearest, subnormal numbers kept, nothing trapped."""
    import ctypes

    with suppress(OSError, AttributeError, TypeError):  # a system that has no such function, or hides it
        library = ctypes.CDLL(None)
        library.fesetround(0)
        library.fesetenv(ctypes.c_void_p(-1))


def _variables() -> dict[str, str]:
    """The environment, without what PyTorch's compiler notes there for itself."""
    return {name: value for name, value in os.environ.items() if "TORCHINDUCTOR_" not in name}


def _set_variables(before: dict[str, str]) -> None:
    for name in _variables().keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _which_variables(before: dict[str, str], after: dict[str, str]) -> str:
    names = sorted(before.keys() | after.keys())
    return ", ".join(name for name in names if before.get(name) != after.get(name))


def _random_states() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002  the state that a backend may share
    return (random.getstate(), kind, np.asarray(keys).tobytes(), *rest)


PARTS: Final = (
    Part("the current directory", _folder, _change_folder),
    Part("the environment", _variables, _set_variables, told=_which_variables, settled=True),
    Part("the standard streams", _streams, _open_streams),
    Part("the filters of warnings", lambda: list(warnings.filters), _set_filters, _other_filters),
    Part("the handlers of signals", _handlers, _set_handlers),
    Part("NumPy's handling of floating-point errors", np.geterr, _set_errors),
    Part("the processor's floating-point mode", _float_unit, _set_float_unit),
    # Put back, it would make a backend repeatable that draws from it.
    Part("the shared random state", _random_states, None),
)
