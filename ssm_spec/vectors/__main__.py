"""``python -m ssm_spec.vectors``: compute the golden vectors again, into the folder that is shipped."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

from ssm_spec.vectors._files import MANIFEST, remade
from ssm_spec.vectors._version import DIGESTS, VECTORS_VERSION


def main(directory: Path = Path(__file__).parent / "data") -> int:
    """Write every file; 1 if the numbers are not those of the version."""
    written = remade()
    directory.mkdir(exist_ok=True)
    for path in directory.iterdir():
        if path.name not in written:
            path.unlink()
    for name, data in written.items():
        (directory / name).write_bytes(data)
    digest = sha256(written[MANIFEST]).hexdigest()
    print(f"version {VECTORS_VERSION}: {len(written)} files, {sum(map(len, written.values())) / 1e6:.2f} MB")
    if digest == DIGESTS.get(VECTORS_VERSION):
        return 0
    print(f"the manifest's digest is new: raise VECTORS_VERSION and add {digest}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
