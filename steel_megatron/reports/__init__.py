"""Floor 6: figures and tables to look at: datasets, samples of a run, mixtures, schedules."""
