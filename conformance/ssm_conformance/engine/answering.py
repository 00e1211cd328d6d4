"""What a worker can answer: the claims of a plugin it loads, and the verdict of one case.

Also used without a worker, for a debugger.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ssm_conformance.manners import manners_kept, noticed

if TYPE_CHECKING:
    from ssm_backends import Backend
    from ssm_conformance.verdict import Verdict


def load(order: Mapping[str, Any], *, alone: bool = False) -> tuple[Backend | None, dict[str, Any]]:
    """Import the plugin and read its claims; what fails is an answer, not a crash.

    Parameters
    ----------
    order
        The request, as ``ssm_conformance.engine.protocol`` has it.
    alone
        As for :func:`judge`.
    """
    from ssm_backends import PluginError, UnavailableError, UnknownBackendError, claims_as_data
    from ssm_backends import load as load_plugin
    from ssm_conformance.engine.target import Target

    sys.path[:] = order["path"]
    target = Target.from_json(order["load"])
    try:
        with manners_kept(importing=True):
            backend = load_plugin(target.plugin, target.device)
    except UnavailableError as error:
        return None, {"failure": {"kind": "unavailable", "message": str(error)}}
    except (PluginError, UnknownBackendError) as error:
        if error.__cause__ is not None:  # otherwise the message says it all
            traceback.print_exception(error.__cause__)
        return None, {"failure": {"kind": "plugin", "message": str(error)}}
    except KeyboardInterrupt:
        if not alone:
            raise
        traceback.print_exc()
        message = f"loading {target.plugin.module} raised KeyboardInterrupt"
        return None, {"failure": {"kind": "plugin", "message": message}}
    import ssm_conformance.checks  # noqa: F401  now, so that no case's time limit pays for it

    devices = list(dict.fromkeys(adapter.device for adapter in backend.adapters))
    limit_gpu_memory(devices, order["gpu_fraction"])
    return backend, {"claims": claims_as_data(backend), "devices": devices, "at_import": noticed()}


def limit_gpu_memory(devices: list[str], fraction: float) -> None:
    """Let PyTorch's allocator refuse what would push others off a GPU, if the plugin uses it."""
    torch = sys.modules.get("torch")
    for device in devices:
        if torch is not None and device.startswith("cuda"):
            torch.cuda.set_per_process_memory_fraction(fraction, device)


def judge(
    case_id: str, backend: Backend, order: Mapping[str, Any], *, alone: bool = False
) -> tuple[Verdict, str]:
    """One case; its verdict, and why this process must not be used again ("" if it may).

    Parameters
    ----------
    case_id
        The id of the case.
    backend
        The backend, loaded.
    order
        How it was loaded: another process is given the same.
    alone
        Whether this process is a worker: what raises KeyboardInterrupt in one is the backend,
        for a user's Ctrl-C goes to the parent.
    """
    from ssm_conformance.cases import find_case
    from ssm_conformance.checks import perform
    from ssm_conformance.engine.elsewhere import Elsewhere
    from ssm_conformance.verdict import Verdict

    case = find_case(case_id)
    start = time.perf_counter()
    retire = ""
    try:
        with manners_kept():
            verdict = perform(case, backend, Elsewhere(order))
    except Exception as error:  # the suite's own: it is the case's verdict, and the worker lives on
        traceback.print_exc()
        last = traceback.extract_tb(error.__traceback__)[-1]
        message = (
            f"the suite could not judge it: {type(error).__name__}: {error} ({last.name}, line {last.lineno})"
        )
        verdict = Verdict(case.id, case.op, case.dtype, case.check, "error", message=message)
    except BaseException as error:
        if not alone and isinstance(error, KeyboardInterrupt):
            raise
        traceback.print_exc()
        retire = _ending(error)
        verdict = Verdict(case.id, case.op, case.dtype, case.check, "fail", message=retire)
    seconds = time.perf_counter() - start
    details = dict(verdict.details) | ({"cause": "exit"} if retire else {})
    effects = noticed()
    if effects:
        details["side_effects"] = effects
    broken = device_error(backend)
    if broken:
        retire, details["cause"] = retire or broken, "device"
        message = "; ".join(part for part in (verdict.message, broken) if part)
        verdict = replace(verdict, status="fail", message=message)
    return replace(verdict, seconds=verdict.seconds or seconds, details=details), retire


def _ending(error: BaseException) -> str:
    """What a backend raised that is meant to end a process, in words."""
    from ssm_backends.raised import in_words

    if isinstance(error, SystemExit):
        return f"the backend called sys.exit({error.code!r})"
    return f"the backend raised {in_words(error).removesuffix(': ')}, which is no Exception"


def device_error(backend: Backend) -> str:
    """What the device reports once everything started on it is done; "" if all is well.

    A device in error stays so for the rest of the process, whoever has seen it first.
    """
    from ssm_backends.raised import in_words

    for adapter in backend.adapters:
        try:
            adapter.synchronize()
        except Exception as error:  # a device reports what went wrong before in any type
            return f"device {adapter.device} is in error: {in_words(error)}"
    return ""
