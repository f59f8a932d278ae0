"""Note the ids of all stored cells as released: `python -m tests.notebooks.release`.

Student work is filed under these ids: an exercise's cells stay for ever. Another cell may be cut;
its id is then withdrawn, and no later cell may take it.
"""

import json

from tests.notebooks.lessons import NOTEBOOKS, read
from tests.notebooks.test_anatomy import RELEASED


def main() -> None:
    released = json.loads(RELEASED.read_text()) if RELEASED.exists() else {}
    for path in NOTEBOOKS:
        old = released.get(path.stem, {"stored": [], "withdrawn": []})
        stored = [cell.id for cell in read(path).cells]
        cut = [cell_id for cell_id in old["stored"] if cell_id not in stored]
        released[path.stem] = {"stored": stored, "withdrawn": old["withdrawn"] + cut}
    RELEASED.write_text(json.dumps(released, indent=1) + "\n")


if __name__ == "__main__":
    main()
