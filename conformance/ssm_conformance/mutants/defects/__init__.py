"""The known-bad implementations: each overrides a method of an honest one."""
