"""`wasi:http/proxy`: components that answer HTTP requests, with a host of our own for all that they import."""
