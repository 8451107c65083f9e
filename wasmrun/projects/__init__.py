"""Projects: functions as sources, from `wasmrun new` to a module that runs."""
