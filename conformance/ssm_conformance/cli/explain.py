"""``ssm-spec explain``: one case, its inputs and its clause; with a backend also what it gave, and where."""

from __future__ import annotations

import click


@click.command(short_help="Explain one case.")
@click.argument("case_id", metavar="CASE")
@click.option("--backend", metavar="NAME", help="Also judge this backend and show its worst element.")
@click.option("--plugin", metavar="MODULE", help="The same for one that is not installed.")
@click.option("--device", metavar="D", help="The device to judge on.")
def explain(case_id: str, backend: str | None, plugin: str | None, device: str | None) -> int:
    """Explain one case: its inputs, the clause it holds, and how to run it again."""
    from ssm_conformance.cli._explaining import explain_case, explain_verdict
    from ssm_conformance.console import console
    from ssm_conformance.engine.session import SelectionError, check_ids

    if backend and plugin:
        raise click.UsageError("give --backend or --plugin, not both")
    if device and not (backend or plugin):
        raise click.UsageError("--device says where to judge: give --backend or --plugin too")
    try:
        check_ids([case_id])
    except SelectionError as error:
        raise click.UsageError(str(error).replace("`--case`", "`CASE`")) from error
    out = console()
    explain_case(out, case_id)
    if backend or plugin:
        return explain_verdict(out, case_id, backend, plugin, device)
    out.print(f"to run it: ssm-spec conform NAME --case {case_id}", soft_wrap=True, markup=False)
    return 0
