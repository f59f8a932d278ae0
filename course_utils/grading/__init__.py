"""Grading that cannot be forged: a submission's code runs in a box, the checks run outside."""
