"""Pipeline parallel: schedules as data, a checker, a timeline, and the executor that runs any of them."""
