"""Kernels compiled for these tests are kept out of the user's own cache, and made once for all workers."""

import os
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("llvmlite")
os.environ.setdefault("SSM_CPU_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"ssm_cpu_tests_{os.getuid()}"))
