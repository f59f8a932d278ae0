"""The checker of shapes at run time, in tests only: a (4, 2) against a (4, 1) must not broadcast.

Functions whose signatures name shapes are checked by beartype; the others keep their own errors
for bad input, which the tests read. An int is a legal float, as everywhere in Python.
"""

from collections.abc import Callable

from beartype import BeartypeConf, beartype

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))


def shapes(target: Callable) -> Callable:
    annotations = getattr(target, "__annotations__", {}).values()
    named = any("Tensor, " in str(annotation) for annotation in annotations)
    return _checked(target) if named and not isinstance(target, type) else target
