"""Floor 5: checkpoints to Hugging Face folders and back."""
