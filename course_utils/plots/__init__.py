"""Plot functions, pure: numbers in, a `Picture` with alt text out; one module per lesson."""
