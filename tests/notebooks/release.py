"""Note the ids of all stored cells as released: `python -m tests.notebooks.release`.

Student work is filed under these ids, so the list only ever grows.
"""

import json

from tests.notebooks.lessons import NOTEBOOKS, read
from tests.notebooks.test_anatomy import RELEASED


def main() -> None:
    released = json.loads(RELEASED.read_text()) if RELEASED.exists() else {}
    for path in NOTEBOOKS:
        old = released.get(path.stem, [])
        new = [cell.id for cell in read(path).cells]
        released[path.stem] = new + [gone for gone in old if gone not in new]
    RELEASED.write_text(json.dumps(released, indent=1) + "\n")


if __name__ == "__main__":
    main()
