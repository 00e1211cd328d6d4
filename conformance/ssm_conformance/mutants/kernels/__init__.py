"""Honest implementations of every operator, written so that a defect overrides one method."""
