"""steel_megatron: 3D-parallel pretraining of ~1 B language models, from raw corpora to a Hugging Face model."""

__version__ = "0.1.0"
