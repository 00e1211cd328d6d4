"""The typed errors of the contract: each names the argument, the rule, and what was given."""

from __future__ import annotations

from typing import Final


class ShapeError(ValueError):
    """An argument's rank or size breaks a rule of the operator."""


class DTypeError(TypeError):
    """An argument's dtype or kind breaks a rule of the operator."""


class DeviceError(ValueError):
    """An argument lives on another device than the rest of the call."""


class ArgumentError(ValueError):
    """An argument is missing, unknown, or has a value the operator does not allow."""


class NotSupportedError(NotImplementedError):
    """The call is valid, and this backend does not claim it."""


class UnavailableError(RuntimeError):
    """The backend cannot serve here: no such device, or an optional package is missing."""


REFUSALS: Final = (ShapeError, DTypeError, DeviceError, ArgumentError, NotSupportedError, UnavailableError)
"""What a call may meet at a backend that keeps the contract."""


class ContractError(ValueError):
    """A backend's own declaration breaks the contract."""


class UnknownBackendError(LookupError):
    """No installed plugin has this name."""


class PluginError(RuntimeError):
    """A plugin could not be loaded; `__cause__` holds what it raised."""
