"""Floor 2: documents to token ids on disk, in Megatron's .bin/.idx; nothing here loads torch."""
