"""Files that a run appends to for days, and its lock."""
