"""``ssm-spec``: the group of commands. Nothing heavy is imported here: ``--help`` must be quick."""

from __future__ import annotations

import importlib
from typing import Final

import click

from ssm_conformance.nearest import did_you_mean

COMMANDS: Final = ("backends", "conform", "explain", "bench", "new", "vectors", "selftest", "doctor")
"""Each is a module of this package with a command of its own name."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of a first acquaintance."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name; None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"ssm_conformance.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant; a usage error with the nearest ones if there is none."""
        if args[0] not in COMMANDS:
            ctx.fail(f"No such command {args[0]!r}{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ssm-spec", message="ssm-spec %(version)s")
def cli() -> None:
    """The ground truth for state space models, and the suite that holds kernels to it."""
