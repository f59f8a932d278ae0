"""Helpers of the course "Generative Models, Line by Line"; import the modules, not this name."""
