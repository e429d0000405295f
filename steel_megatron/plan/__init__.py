"""Floor 5: what a run will take, and what the machine has."""
