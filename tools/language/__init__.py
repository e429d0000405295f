"""The shipped classifier of languages: its texts and its making."""
