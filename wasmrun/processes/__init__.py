"""Worker processes: a second wall around guests, and the supervisor that watches and replaces them."""
