"""What several modules of these tests measure once."""

import pytest

from tests.grading.submissions import SIGNATURE, answered, graded, require_sandbox, wrong


@pytest.fixture(scope="session")
def constant(tmp_path_factory) -> dict[str, int]:
    """What a constant gets for each exercise of lesson 08: some properties hold for it."""
    require_sandbox()
    notebook = answered("08", {name: wrong(name) for name in SIGNATURE})
    rows = graded(notebook, tmp_path_factory.mktemp("constant"))
    return {name: row.points for name, row in rows.items()}
