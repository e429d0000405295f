"""From a configuration to a run that is ready for its first step."""
