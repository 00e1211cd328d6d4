"""The contract between state-space backends and the suite that judges them."""

from ssm_backends.arrays import Arrays, Layout, MemoryUse, NumpyArrays, TorchArrays
from ssm_backends.backend import CONTRACT, Backend, Op, claims_as_data, claims_from_data
from ssm_backends.dispatch import call, outputs_of, refusal, run_vjp, select
from ssm_backends.errors import (
    ArgumentError,
    ContractError,
    DeviceError,
    DTypeError,
    NotSupportedError,
    PluginError,
    ShapeError,
    UnavailableError,
    UnknownBackendError,
)
from ssm_backends.front import Choice, FallbackError, FallbackWarning, explain, use
from ssm_backends.front.functions import (
    causal_conv1d,
    causal_conv1d_update,
    causal_convolution,
    discretize_bilinear,
    discretize_zoh,
    hippo_legs,
    selective_scan,
    selective_state_update,
    ssm_kernel,
    ssm_recurrence,
)
from ssm_backends.hookspec import hookimpl
from ssm_backends.operators import OPERATORS
from ssm_backends.registry import GROUP, Plugin, find_plugin, installed, load
from ssm_backends.schema import REQUIRED, Argument, Form, Operator, Output, Rule
from ssm_backends.validation import Call, choose_forms, validate

__all__ = [
    "CONTRACT",
    "GROUP",
    "OPERATORS",
    "REQUIRED",
    "Argument",
    "ArgumentError",
    "Arrays",
    "Backend",
    "Call",
    "Choice",
    "ContractError",
    "DTypeError",
    "DeviceError",
    "FallbackError",
    "FallbackWarning",
    "Form",
    "Layout",
    "MemoryUse",
    "NotSupportedError",
    "NumpyArrays",
    "Op",
    "Operator",
    "Output",
    "Plugin",
    "PluginError",
    "Rule",
    "ShapeError",
    "TorchArrays",
    "UnavailableError",
    "UnknownBackendError",
    "call",
    "causal_conv1d",
    "causal_conv1d_update",
    "causal_convolution",
    "choose_forms",
    "claims_as_data",
    "claims_from_data",
    "discretize_bilinear",
    "discretize_zoh",
    "explain",
    "find_plugin",
    "hippo_legs",
    "hookimpl",
    "installed",
    "load",
    "outputs_of",
    "refusal",
    "run_vjp",
    "select",
    "selective_scan",
    "selective_state_update",
    "ssm_kernel",
    "ssm_recurrence",
    "use",
    "validate",
]
