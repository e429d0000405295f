"""Floor 6: proof that every layout computes one and the same run."""
