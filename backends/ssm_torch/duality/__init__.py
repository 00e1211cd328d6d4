"""State space duality in chunks: matrix products inside them, a recurrence between them."""

from ssm_torch.duality.operator import scan_in_chunks

__all__ = ["scan_in_chunks"]
