"""junit.xml: the run as continuous integration reads it."""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree

from ssm_conformance.engine.run import Run
from ssm_conformance.reports.matrix import show_ratio
from ssm_conformance.verdict import Verdict

NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML cannot hold, and what a dying worker may print."""


def junit(run: Run) -> str:
    """One test suite; an unfinished run has an error of its own, so that nobody takes it for a whole one."""
    verdicts = run.ordered
    kinds = [_kind(verdict) for verdict in verdicts]
    unfinished = bool(run.not_run or run.ended)
    counts = {
        "tests": str(len(verdicts) + unfinished),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error") + unfinished),
        "skipped": str(kinds.count("skipped")),
        "time": f"{run.seconds:.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": "ssm-spec", **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": f"ssm-spec.{run.backend}", **counts})
    for verdict, kind in zip(verdicts, kinds, strict=True):
        _add_case(suite, verdict, kind)
    if unfinished:
        case = ElementTree.SubElement(suite, "testcase", {"classname": "ssm-spec", "name": "the whole run"})
        ElementTree.SubElement(case, "error", {"message": clean(run.headline)}).text = clean(run.ended)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_case(suite: ElementTree.Element, verdict: Verdict, kind: str) -> None:
    attributes = {
        "classname": f"{verdict.op}.{verdict.check}",
        "name": verdict.id,
        "time": f"{verdict.seconds:.3f}",
    }
    case = ElementTree.SubElement(suite, "testcase", attributes)
    if verdict.ratio is not None:
        properties = ElementTree.SubElement(case, "properties")
        value = show_ratio(verdict.ratio)
        ElementTree.SubElement(properties, "property", {"name": "ratio", "value": value})
    if kind:
        entry = ElementTree.SubElement(case, kind, {"message": clean(_message(verdict))})
        entry.text = clean(f"{verdict.message}\nrerun: {verdict.rerun}")


def _kind(verdict: Verdict) -> str:
    """The element that holds the verdict: "" for a pass."""
    if verdict.unexpected:
        return "failure"
    return {"pass": "", "error": "error"}.get(verdict.status, "skipped")


def _message(verdict: Verdict) -> str:
    if verdict.expected is not None:
        what = "passed, but was expected to fail" if verdict.status == "pass" else "failed as expected"
        return f"{what}: {verdict.expected}"
    return verdict.message or verdict.status


def clean(text: str) -> str:
    """The text without characters that XML cannot hold."""
    return NOT_XML.sub("�", text)
