"""Which source each sample of a run comes from, phase by phase."""
