"""From a kernel's Python to machine code: once for each machine, kept on disk."""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import llvmlite
import llvmlite.binding as llvm

from ssm_cpu import _call
from ssm_cpu._emit import Function, Program
from ssm_cpu._values import Int

CACHE_VARIABLE: Final = "SSM_CPU_CACHE_DIR"
"""Environment variable: the folder for machine code; "" for none."""

KERNEL: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
"""A kernel: a function of a table's address, which runs without the interpreter's lock."""
Kernel = Callable[[int], None]

_lock: Final = threading.Lock()
_kernels: Final[dict[tuple[Callable[..., None], str], Kernel]] = {}
_engines: Final[list[Any]] = []
"""They own the machine code, which lives as long as the process."""

if hasattr(os, "register_at_fork"):  # while LLVM is at work in a thread, no child is made that would miss it
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def compiled(body: Callable[..., None], dtype: str) -> Kernel:
    """The machine code of a kernel for one type of state: from this process, from disk, or from LLVM.

    Parameters
    ----------
    body
        ``body(f, table, scratch)`` writes the kernel.
    dtype
        "float32", "float64", "complex64" or "complex128".

    Returns
    -------
    A function of the address of a call's table, by which each thread that is to help calls it once.
    """
    key = body, dtype
    if key not in _kernels:
        with _lock:
            if key not in _kernels:  # another thread may have been first
                _kernels[key] = _loaded(body, dtype)
    return _kernels[key]


def _loaded(body: Callable[..., None], dtype: str) -> Kernel:
    name = f"{body.__name__}_{dtype}"
    path = cache_file(name)
    code = _stored(path)
    if code is None:
        code = machine_code(body, dtype)
        _keep(path, code)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return KERNEL(engine.get_function_address(name))


def machine_code(body: Callable[..., None], dtype: str, *, assembly: bool = False) -> Any:
    """A kernel as an object file for this processor, or as readable assembly."""
    double, complex_ = dtype in ("float64", "complex128"), dtype.startswith("complex")
    program = Program(double=double, complex=complex_, halves=converts_halves())
    program.avx512 = _has("avx512f", "avx512dq")
    program.processor = llvm.get_default_triple().partition("-")[0]
    program.function(f"{body.__name__}_{dtype}", 1, partial(_entered, body), public=True)
    machine = _machine()
    module = llvm.parse_assembly(str(program.module))
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return machine.emit_assembly(module) if assembly else machine.emit_object(module)


def _entered(body: Callable[..., None], f: Function, table: Int) -> None:
    """What a thread does: take some scratch memory that no other has, and work, if it is not one too many."""
    place = f.take(table + 8 * _call.ARRIVED)
    size, begin = f.word(table, 8 * _call.SCRATCH_SIZE), f.word(table, 8 * _call.SCRATCH)
    with f.when(place < f.word(table, 8 * _call.PLACES)):
        body(f, table, begin + place * size)


def _machine() -> Any:
    """LLVM's view of this processor."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=_features(), opt=3, jit=True)


@cache
def converts_halves() -> bool:
    """Whether this processor converts float16 by itself: every ARM of 64 bits, and x86 since 2012."""
    if not llvm.get_default_triple().startswith(("x86", "i686")):
        return True
    return _has("f16c")


def _has(*features: str) -> bool:
    """Whether this processor has all of them."""
    found = llvm.get_host_cpu_features()
    return all(found.get(feature, False) for feature in features)


def _features() -> str:
    return str(llvm.get_host_cpu_features().flatten())


def cache_file(name: str) -> Path | None:
    """Where a kernel's machine code is kept: by what it was made from, with what, and for which processor."""
    folder = _folder()
    if folder is None:
        return None
    sha = hashlib.sha256(_sources())
    made_for = (
        llvmlite.__version__,
        llvm.llvm_version_info,
        llvm.get_default_triple(),
        llvm.get_host_cpu_name(),
    )
    sha.update(repr((name, *made_for, _features())).encode())
    return folder / f"{name}-{sha.hexdigest()[:32]}.o"


@cache
def _sources() -> bytes:
    """The digest of this package's own sources."""
    sha = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("_*.py")):
        sha.update(path.read_bytes())
    return sha.digest()


def _folder() -> Path | None:
    """The user's own folder for such files; never one that others may write to."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen is not None:
        return Path(os.path.expanduser(chosen)) if chosen else None  # where no shell has read "~"
    try:
        home = Path.home()
    except RuntimeError:  # nobody's home
        return None
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        base = base if base.is_absolute() else home / ".cache"  # as XDG's specification asks
    return base / "ssm-spec" / "cpu"


def _stored(path: Path | None) -> bytes | None:
    """The machine code in a file, if it is there and whole: it begins with its own digest."""
    if path is None:
        return None
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, code = data[:32], data[32:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(path: Path | None, code: bytes) -> None:
    """Write a file in one move, so that nobody reads half of it. Where that cannot be, nothing is kept."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(temporary, path)
    except OSError:
        return
