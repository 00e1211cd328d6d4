"""``ssm-spec explain``: one case, its inputs and its clause; with a backend also what it gave, and where."""

from __future__ import annotations

import click


@click.command(short_help="Explain one case.")
@click.argument("case_id", metavar="CASE")
@click.option("--backend", "names", multiple=True, metavar="NAME",
              help="Also judge this backend and show its worst element; repeatable.")  # fmt: skip
@click.option("--plugin", "modules", multiple=True, metavar="MODULE",
              help="The same for one that is not installed; repeatable.")  # fmt: skip
@click.option("--device", metavar="D", help="The device to judge on.")
def explain(case_id: str, names: tuple[str, ...], modules: tuple[str, ...], device: str | None) -> int:
    """Explain one case: its inputs, the clause it holds, and how to run it again.

    Exit status, with a backend: 0 if every one passed; 1 if one failed; else 2, if one could not be judged.
    """
    from ssm_conformance.cli._explaining import explain_case, explain_verdicts
    from ssm_conformance.cli._targets import admit
    from ssm_conformance.console import console
    from ssm_conformance.engine.session import SelectionError, check_ids

    if device and not (names or modules):
        raise click.UsageError("--device says where to judge: give --backend or --plugin too")
    try:
        check_ids([case_id])
    except SelectionError as error:
        raise click.UsageError(str(error).replace("`--case`", "`CASE`")) from error
    admit(names, modules)
    out = console()
    explain_case(out, case_id)
    if names or modules:
        return explain_verdicts(out, case_id, names, modules, device)
    out.print(f"to run it: ssm-spec conform NAME --case {case_id}", soft_wrap=True, markup=False)
    return 0
