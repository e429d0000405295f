"""Floor 2: from JSON lines to a vocabulary: pre-tokens are counted part by part, and merges learned from the counts."""
