"""The environment: installed, and examined."""
