"""Plugins: listed from metadata without importing them, loaded one by one, faults kept apart."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from dataclasses import dataclass
from types import ModuleType
from typing import Final

import pluggy

from ssm_backends import hookspec
from ssm_backends.backend import Backend
from ssm_backends.errors import (
    ArgumentError,
    ContractError,
    PluginError,
    UnavailableError,
    UnknownBackendError,
)
from ssm_backends.raised import in_words

GROUP: Final = "ssm_backends"
"""The entry-point group; an entry point's name is its backend's name."""


@dataclass(frozen=True)
class Plugin:
    """One plugin as its metadata describes it; nothing of it is imported.

    Attributes
    ----------
    name
        The backend's name.
    module
        The module that implements the hook.
    distribution, version
        Where it comes from; "" for a module named directly.
    extra
        The extra of the distribution that it needs, if any.
    missing
        Distributions of that extra that are not installed.
    """

    name: str
    module: str
    distribution: str = ""
    version: str = ""
    extra: str = ""
    missing: tuple[str, ...] = ()

    @property
    def remedy(self) -> str:
        """The command that installs what is missing; "" if nothing is."""
        return f"pip install '{self.distribution}[{self.extra}]'" if self.missing else ""


def installed() -> list[Plugin]:
    """Every installed plugin, by name. Reads metadata alone.

    Two plugins may claim one name; :func:`find_plugin` refuses such a name.
    """
    points = importlib.metadata.entry_points(group=GROUP)
    return sorted((_describe(point) for point in points), key=lambda plugin: plugin.name)


def find_plugin(name: str) -> Plugin:
    """The installed plugin of this name.

    Raises
    ------
    UnknownBackendError
        If there is none; the message lists those there are.
    PluginError
        If two distributions claim the name.
    """
    plugins = installed()
    found = [plugin for plugin in plugins if plugin.name == name]
    if not found:
        known = ", ".join(plugin.name for plugin in plugins) or "none"
        raise UnknownBackendError(f"no backend is called {name!r}; installed: {known}")
    if len(found) > 1:
        owners = " and ".join(f"{plugin.distribution} ({plugin.module})" for plugin in found)
        raise PluginError(f"two plugins are called {name!r}: {owners}; uninstall one")
    return found[0]


def load(plugin: Plugin | str, device: str | None = None) -> Backend:
    """Import one plugin and ask it for its backend.

    Parameters
    ----------
    plugin
        A plugin, or the name of an installed one.
    device
        Handed to the hook: "cuda", "cuda:1", "cpu"; None for the backend's own default.

    Raises
    ------
    ArgumentError
        If it is neither.
    UnknownBackendError
        If no installed plugin has the name.
    UnavailableError
        If an extra or a device is missing; the message has the remedy.
    PluginError
        If two distributions claim the name, or it fails to import, has no hook, or breaks the
        contract. A plugin that calls ``sys.exit`` is such a failure, not the end of the process.
    """
    plugin = find_plugin(plugin) if isinstance(plugin, str) else plugin
    if not isinstance(plugin, Plugin):
        raise ArgumentError(f"`plugin` must be a Plugin, or the name of an installed one; got {plugin!r}")
    if plugin.missing:
        names = ", ".join(plugin.missing)
        raise UnavailableError(f"backend {plugin.name!r} needs {names}: {plugin.remedy}")
    backend = _ask(plugin, _import(plugin), device)
    if plugin.distribution and backend.name != plugin.name:
        raise PluginError(
            f"plugin {plugin.name!r} ({plugin.module}) handed over a backend called {backend.name!r}; "
            "the entry point's name is the backend's name"
        )
    return backend


def _describe(point: importlib.metadata.EntryPoint) -> Plugin:
    distribution = point.dist
    if distribution is None:
        return Plugin(name=point.name, module=point.module)
    extra = point.extras[0] if point.extras else ""
    return Plugin(
        name=point.name,
        module=point.module,
        distribution=distribution.name,
        version=distribution.version,
        extra=extra,
        missing=_missing(distribution, extra) if extra else (),
    )


def _missing(distribution: importlib.metadata.Distribution, extra: str) -> tuple[str, ...]:
    """Names of the extra's requirements that no installed distribution satisfies (versions aside)."""
    wanted = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""")
    names = []
    for requirement in distribution.requires or ():
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if name and wanted.search(requirement):
            try:
                importlib.metadata.distribution(name.group())
            except importlib.metadata.PackageNotFoundError:
                names.append(name.group())
    return tuple(names)


def _import(plugin: Plugin) -> ModuleType:
    try:
        return importlib.import_module(plugin.module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a plugin must not end its host
        raise PluginError(
            f"plugin {plugin.name!r}: importing {plugin.module} raised {in_words(error)}"
        ) from error


def _ask(plugin: Plugin, module: ModuleType, device: str | None) -> Backend:
    """Call the hook of one plugin alone, in a manager of its own."""
    manager = pluggy.PluginManager(hookspec.PROJECT)
    manager.add_hookspecs(hookspec)
    try:
        manager.register(module, plugin.name)
        manager.check_pending()
        backend = manager.hook.ssm_backend(device=device)
    except (KeyboardInterrupt, UnavailableError):
        raise
    except ContractError as error:
        raise PluginError(f"plugin {plugin.name!r} breaks the contract: {error}") from error
    except BaseException as error:  # the same reason as above
        raise PluginError(f"plugin {plugin.name!r}: its hook raised {in_words(error)}") from error
    if not isinstance(backend, Backend):
        hooked = bool(manager.hook.ssm_backend.get_hookimpls())
        kind = "None" if backend is None else type(backend).__name__
        given = kind if hooked else "no hook `ssm_backend` marked with hookimpl"
        raise PluginError(f"plugin {plugin.name!r} ({plugin.module}) must hand over a Backend; got {given}")
    return backend
