"""The tests; `typecheck` is imported here so that pytest's jaxtyping option finds it by name."""

from tests import typecheck as typecheck
