"""What is to be judged: a plugin as its metadata describes it, and a device. Nothing is imported here."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.machinery import ModuleSpec
from typing import Any, Literal

from ssm_backends import Plugin, PluginError, UnknownBackendError, find_plugin
from ssm_conformance.verdict import plain

FailureKind = Literal["unknown", "unavailable", "plugin", "crash", "timeout"]


class LoadError(RuntimeError):
    """A backend that cannot be judged here.

    Parameters
    ----------
    kind
        "unavailable" where an extra or a device is missing: mendable, nobody's fault.
    message
        What happened, with the remedy if there is one.
    log
        The end of what the plugin printed.
    """

    def __init__(self, kind: FailureKind, message: str, log: str = "") -> None:
        super().__init__(plain(message))
        self.kind: FailureKind = kind
        self.log: str = plain(log)


@dataclass(frozen=True)
class Target:
    """One plugin on one device.

    Attributes
    ----------
    plugin
        From metadata; a module that is not installed has no distribution.
    device
        Handed to its hook; None for its own default.
    """

    plugin: Plugin
    device: str | None = None

    @property
    def named_by_module(self) -> bool:
        """Whether it was given as a module, and not by the name of an installed plugin."""
        return not self.plugin.distribution

    def to_json(self) -> dict[str, Any]:
        """The target as data for a worker."""
        return {"plugin": asdict(self.plugin), "device": self.device}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Target:
        """The target of :meth:`to_json`."""
        fields = dict(data["plugin"])
        return cls(Plugin(**fields | {"missing": tuple(fields["missing"])}), data["device"])


def find_target(name: str, device: str | None = None) -> Target:
    """The installed plugin of this name.

    Raises
    ------
    LoadError
        If there is none, if two claim the name, or if its extra is missing.
    """
    try:
        plugin = find_plugin(name)
    except UnknownBackendError as error:
        raise LoadError("unknown", str(error)) from error
    except PluginError as error:
        raise LoadError("plugin", str(error)) from error
    if plugin.missing:
        raise LoadError("unavailable", f"backend {name!r} needs {', '.join(plugin.missing)}: {plugin.remedy}")
    return Target(plugin, device)


def found_on_path(top: str) -> ModuleSpec | None:
    """Where a module is imported from; None if there is none of this name."""
    try:
        return importlib.util.find_spec(top)
    except ValueError:  # one of this process that came from nowhere, as `__main__` may
        return None


def module_target(module: str, device: str | None = None) -> Target:
    """A plugin module that need not be installed.

    Raises
    ------
    LoadError
        If it is not the name of a module, or there is none of this name on the path.
    """
    if not all(part.isidentifier() for part in module.split(".")):
        raise LoadError("unknown", f"`--plugin` must name a module, as `import` would; got {module!r}")
    if module.endswith(".py"):
        raise LoadError(
            "unknown", f"`--plugin` must name a module, not a file: {module[:-3]!r}; got {module!r}"
        )
    top = module.partition(".")[0]
    if found_on_path(top) is None:
        raise LoadError("unknown", f"no module is called {top!r} here; is its folder on PYTHONPATH?")
    return Target(Plugin(name=module, module=module), device)
