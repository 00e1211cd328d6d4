"""The functions of mamba-ssm and causal-conv1d, under their names and signatures, over the front door.

Results are held to the derived bound, which theirs are not meant to be: softplus is exact for every
argument (theirs is the identity above 20), and the gradient of the last state is kept. Needs PyTorch.
"""

from ssm_backends.mamba_ssm.chunk_scan import mamba_chunk_scan_combined
from ssm_backends.mamba_ssm.convolution import causal_conv1d_fn
from ssm_backends.mamba_ssm.convolution_update import causal_conv1d_update
from ssm_backends.mamba_ssm.inner import mamba_inner_fn, mamba_inner_ref
from ssm_backends.mamba_ssm.selective_scan import selective_scan_fn, selective_scan_ref
from ssm_backends.mamba_ssm.split import mamba_split_conv1d_scan_combined
from ssm_backends.mamba_ssm.stand_in import stand_in
from ssm_backends.mamba_ssm.state_update import selective_state_update, selective_state_update_ref

__all__ = [
    "causal_conv1d_fn",
    "causal_conv1d_update",
    "mamba_chunk_scan_combined",
    "mamba_inner_fn",
    "mamba_inner_ref",
    "mamba_split_conv1d_scan_combined",
    "selective_scan_fn",
    "selective_scan_ref",
    "selective_state_update",
    "selective_state_update_ref",
    "stand_in",
]
