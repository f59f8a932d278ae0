"""Honest submissions that are unusual lose nothing; each holds one oddity for each exercise."""

import pytest

from course_utils import exercises
from tests.grading.submissions import answered, code, graded, position, require_sandbox, solution


@pytest.fixture(autouse=True)
def sandbox():
    require_sandbox()


def helper(notebook: dict, source: str, before: str = "", after: str = "") -> None:
    """A cell of the student's own, next to the cell with this id."""
    at = position(notebook, before) if before else position(notebook, after) + 1
    notebook["cells"].insert(at, code(source, f"mine-{len(notebook['cells'])}"))


def all_right(rows: dict) -> bool:
    wrong = {name: row for name, row in rows.items() if row.status != "PASS"}
    assert not wrong, wrong
    return True


DRAWS_AND_HELPS = """%matplotlib inline
import matplotlib.pyplot as plt
plt.rcParams["figure.dpi"] = 100
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
line2d, = left.plot(x, p)
right.set_title("p"); fig.tight_layout(); plt.show()
for ax in plt.subplots(2, 2)[1].flat:
    ax.hist([1, 2])
counts, bins, patches = plt.hist([1, 2])
with plt.style.context("ggplot"):
    plt.savefig("figure.png")
!pip install numpy
listed = !ls
%pip install numpy
%gui qt

def difference(a, b):
    return a.numpy() - b.numpy()
"""


def first() -> dict:
    """NumPy, plots, commands, a helper after its answer, a split cell, callables of every kind."""
    notebook = answered(
        "08",
        {
            "08-e1": '''import sys, warnings
print("importing", file=sys.stderr)
def optimal_discriminator(log_p, log_p_g):
    """Mine, in NumPy: an edited docstring."""
    print("working", 10 * "x")
    warnings.warn("careful")
    print("oh", file=sys.stderr)
    return 1 / (1 + np.exp(-difference(log_p, log_p_g)))''',
            "08-e2": """def minimax_value(p, p_g, logit, dx):
    return dx * summed(p, logit) + dx * summed(p_g, -logit)""",
            "08-e4": "generator_gradients = lambda logit: (-torch.sigmoid(logit), "
            "-1 / (1 + torch.exp(logit)))",
            "08-e5": solution("08-e5").replace("def non_saturating_gradient", "def with_sign")
            + "\n\nfrom functools import partial\n"
            "non_saturating_gradient = partial(with_sign)",
            "08-e6": """class Game:
    def __call__(self, start, eta, n, alternating):
        points = [start.tolist()]
        for _ in range(n):
            x, y = points[-1]
            new = x - eta * y
            points.append([new, y + eta * (new if alternating else x)])
        return np.array(points)
bilinear_game: Game = Game()""",
        },
    )
    setup = notebook["cells"][position(notebook, "08-setup")]
    setup["source"] = "%load_ext autoreload\n" + "".join(setup["source"]) + "\nimport numpy as np"
    helper(notebook, DRAWS_AND_HELPS, before="answer-08-e1")
    log_sigmoid = "def summed(p, logit):\n    return (p * nn.functional.logsigmoid(logit)).sum()"
    helper(notebook, f"from torch import nn\n{log_sigmoid}", after="answer-08-e2")
    at = position(notebook, "answer-08-e3")
    whole = notebook["cells"][at]
    top = (
        "from math import log\nHALF = 0.5\ndef kl(p, m):\n    return torch.xlogy(p, p / m).nansum()"
    )
    rest = """def jsd_and_value(p, p_g, dx):
    m = HALF * (p + p_g)
    jsd = HALF * dx * (kl(p, m) + kl(p_g, m))
    return jsd, 2 * jsd - log(4)"""
    halves = [{**whole, "id": "upper", "source": top}, {**whole, "id": "lower", "source": rest}]
    notebook["cells"][at : at + 1] = halves
    return notebook


def second() -> dict:
    """Another route, magics, compiled, types, threads, await, a copy, a moved cell, trials."""
    notebook = answered(
        "08",
        {
            "08-e1": """def optimal_discriminator(log_p, log_p_g):
    both = torch.logaddexp(log_p, log_p_g)
    return ONE * torch.exp(log_p - both)""",
            "08-e2": f"%%time\n@torch.compile\n{solution('08-e2')}",
            "08-e3": "import numpy as np\nfrom typing import Sequence\n"
            + solution("08-e3").replace("dx: float", 'dx: "np.floating | Sequence"'),
            "08-e4": """from concurrent.futures import ThreadPoolExecutor
def generator_gradients(logit):
    with ThreadPoolExecutor(4) as pool:
        both = pool.map(torch.sigmoid, (logit, -logit))
    return [-slope for slope in both]""",
            "08-e5": exercises.find("08-e5").stub,
        },
    )
    helper(
        notebook,
        "import asyncio\nasync def one():\n    await asyncio.sleep(0.01)\n    return 1.0\n"
        "ONE = await one()",
        before="answer-08-e1",
    )
    at = position(notebook, "answer-08-e5")  # copied, and the copy filled in; the stub was left
    copy = {**notebook["cells"][at], "id": "copied", "source": solution("08-e5")}
    notebook["cells"].insert(at + 1, copy)
    helper(notebook, "1 / 0", after="copied")  # a trial that fails, and more of them
    helper(notebook, "def broken(:", after="copied")
    helper(notebook, "open('notes.txt', 'w').write('mine')\ninput('go on?')", after="copied")
    notebook["cells"].append(notebook["cells"].pop(position(notebook, "answer-08-e6")))
    return notebook


@pytest.mark.parametrize("made", [first, second], ids=["tools", "places"])
def test_an_honest_but_unusual_submission_loses_nothing(made, tmp_path):
    rows = graded(made(), tmp_path)
    assert all_right(rows)
    flagged = {name: row.flags for name, row in rows.items() if row.flags}
    assert flagged == ({"08-e5": ("duplicate",)} if made is second else {})
