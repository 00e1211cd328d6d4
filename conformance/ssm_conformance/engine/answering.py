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

if TYPE_CHECKING:
    from ssm_backends import Backend
    from ssm_conformance.verdict import Verdict


def load(order: Mapping[str, Any]) -> tuple[Backend | None, dict[str, Any]]:
    """Import the plugin and read its claims; what fails is an answer, not a crash."""
    from ssm_backends import PluginError, UnavailableError, UnknownBackendError, claims_as_data
    from ssm_backends import load as load_plugin
    from ssm_conformance.engine.target import Target

    sys.path[:] = order["path"]
    target = Target.from_json(order["load"])
    try:
        backend = load_plugin(target.plugin, target.device)
    except UnavailableError as error:
        return None, {"failure": {"kind": "unavailable", "message": str(error)}}
    except (PluginError, UnknownBackendError) as error:
        traceback.print_exception(error)
        return None, {"failure": {"kind": "plugin", "message": str(error)}}
    import ssm_conformance.checks  # noqa: F401  now, so that no case's time limit pays for it

    devices = list(dict.fromkeys(adapter.device for adapter in backend.adapters))
    limit_gpu_memory(devices, order["gpu_fraction"])
    return backend, {"claims": claims_as_data(backend), "devices": devices}


def limit_gpu_memory(devices: list[str], fraction: float) -> None:
    """Let PyTorch's allocator refuse what would push others off a GPU, if the plugin uses it."""
    torch = sys.modules.get("torch")
    for device in devices:
        if torch is not None and device.startswith("cuda"):
            torch.cuda.set_per_process_memory_fraction(fraction, device)


def judge(case_id: str, backend: Backend) -> tuple[Verdict, str]:
    """One case; its verdict, and why this process must not be used again ("" if it may)."""
    from ssm_conformance.cases import find_case
    from ssm_conformance.checks import perform
    from ssm_conformance.verdict import Verdict

    case = find_case(case_id)
    start = time.perf_counter()
    retire = ""
    try:
        verdict = perform(case, backend)
    except SystemExit as error:
        retire = f"the backend called sys.exit({error.code!r})"
        verdict = Verdict(case.id, case.op, case.dtype, case.check, "fail", message=retire)
    except Exception as error:
        traceback.print_exc()
        last = traceback.extract_tb(error.__traceback__)[-1]
        message = (
            f"the suite could not judge it: {type(error).__name__}: {error} ({last.name}, line {last.lineno})"
        )
        verdict = Verdict(case.id, case.op, case.dtype, case.check, "error", message=message)
    seconds = time.perf_counter() - start
    broken = device_error(backend)
    if broken:
        retire = retire or broken
        message = "; ".join(part for part in (verdict.message, broken) if part)
        verdict = replace(verdict, status="fail", message=message)
    return replace(verdict, seconds=verdict.seconds or seconds), retire


def device_error(backend: Backend) -> str:
    """What the device reports once everything started on it is done; "" if all is well.

    A device in error stays so for the rest of the process, whoever has seen it first.
    """
    for adapter in backend.adapters:
        try:
            adapter.synchronize()
        except Exception as error:
            return f"device {adapter.device} is in error: {type(error).__name__}: {error}"
    return ""
