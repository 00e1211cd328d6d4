"""The Mamba mixers of transformers, where no CUDA kernel is used, as two backends: one module each."""
