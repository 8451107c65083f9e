"""What wasmrun costs: one script a question, rivals side by side in one run. Figures are emitted, never asserted."""
