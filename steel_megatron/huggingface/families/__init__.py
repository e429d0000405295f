"""One file per Hugging Face family, named by its ``model_type``, whose ``FAMILY`` is a ``Family``."""
