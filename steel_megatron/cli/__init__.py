"""Floor 6: ``steel <command>``; each command is a thin module over the floors below."""
