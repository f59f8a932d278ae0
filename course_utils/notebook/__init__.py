"""A lesson as a file: read, run, written as text, handed out."""
