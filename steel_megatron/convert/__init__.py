"""Floor 5: Hugging Face in and out."""
