"""The selective scan in blocks of time: memory of size b·d·l, and of one state in every sixteen at most."""

from ssm_torch.blockwise.operator import scan_blockwise

__all__ = ["scan_blockwise"]
