"""What happens beside training, at its hooks."""
