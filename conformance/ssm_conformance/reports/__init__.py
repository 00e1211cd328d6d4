"""A run as people and programs read it: JSON, JUnit, Markdown, HTML, a badge, the terminal."""

from ssm_conformance.reports.data import SCHEMA, report_data, schema
from ssm_conformance.reports.folder import FolderError, ReportFolder

__all__ = ["SCHEMA", "FolderError", "ReportFolder", "report_data", "schema"]
