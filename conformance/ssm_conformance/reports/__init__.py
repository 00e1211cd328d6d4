"""A run as people and programs read it: JSON, JUnit, Markdown, HTML, a statement, a badge, the terminal."""

from ssm_conformance.reports.data import SCHEMA, report_data, schema
from ssm_conformance.reports.folder import FolderError, ReportFolder
from ssm_conformance.reports.statement import STATEMENT, statement, statement_schema

__all__ = [
    "SCHEMA",
    "STATEMENT",
    "FolderError",
    "ReportFolder",
    "report_data",
    "schema",
    "statement",
    "statement_schema",
]
