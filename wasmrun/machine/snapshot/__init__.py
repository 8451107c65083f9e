"""Snapshots: a module's start-up is run once, and a module is written that starts from where that ended."""
