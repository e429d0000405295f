"""Floor 4: the optimizer, its schedules and what guards it."""
