"""The command line: one file a command, imported when its command is called."""

from ssm_conformance.cli.group import cli

__all__ = ["cli"]
