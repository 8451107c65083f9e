"""The benchmark: what a function's starts and calls cost, where the time goes, and what to do about it."""
