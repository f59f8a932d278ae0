"""The tests; `typecheck` is imported here so that the hook of conftest.py finds it by name."""

from tests import typecheck as typecheck
