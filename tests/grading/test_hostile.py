"""Submissions that attack: none gains a point by it, harms another answer or outlives its box.

Each attack acts on canaries of this test only: a planted file, a bounded number of processes, a
bounded allocation. A hole in the box is a red test, never a damaged machine.
"""

import pytest

from course_utils.grading.box import Limits
from tests.grading.submissions import answered, body, graded, require_sandbox, wrong

FAST = Limits(call=1.5, grace=1.0, cell=4.0)
# Each submission: attacks on up to five exercises of lesson 08; the sixth is answered right.
IN_THE_BODY = {
    "loops": {
        "08-e1": "while True:\n    pass",
        "08-e2": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "08-e3": """import signal
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
while True: pass""",
        "08-e4": "import time\ntime.sleep(60)",
    },
    "ends": {
        "08-e1": "import os\nos._exit(0)",
        "08-e2": "import sys\nsys.exit(0)",
        "08-e3": "import os\nos.kill(os.getpid(), 9)",
        "08-e4": "import ctypes\nctypes.string_at(0)",
        "08-e5": "import os\nos.kill(-1, 9)\nos.kill(os.getppid(), 9)\nos._exit(0)",
    },
    "floods": {
        "08-e1": "print('x' * 200_000_000)\nreturn log_p",
        "08-e2": "import os\nfor fd in range(64):\n    try: os.write(fd, b'x' * 300_000)\n"
        "    except OSError: pass",
        "08-e3": "return ['x' * 1000] * 200_000, 0",
        "08-e4": "x = []\nfor _ in range(100_000): x = [x]\nreturn x",
        "08-e5": "return torch.zeros(40_000_000, dtype=torch.float64)",
    },
    "lies": {
        "08-e1": """class Liar:
    def __eq__(self, other): return True
    def __array__(self, *a, **k): return 1 / 0
    def __getattr__(self, name): return Liar()
    def __float__(self): return 0.5
return Liar()""",
        "08-e2": """class Sub(torch.Tensor):
    @classmethod
    def __torch_function__(cls, f, types, args=(), kwargs=None): return True
return torch.full((), float('nan')).as_subclass(Sub)""",
        "08-e3": "return float('nan'), float('inf')",
        "08-e4": "return logit.to(torch.complex64), None",
        "08-e5": "return 10 ** 5000",
    },
}
# Run at the top of an answer's cell, before a wrong answer.
AT_THE_TOP = {
    "patches": {
        "08-e1": "import torch\ntorch.allclose = torch.equal = lambda *a, **k: True\n"
        "torch.Tensor.__eq__ = torch.Tensor.__le__ = lambda a, b: True",
        "08-e2": "import builtins\nbuiltins.isinstance = lambda *a: True\n"
        "builtins.abs = lambda x: 0",
        "08-e3": "import course_utils.observing as o\n"
        "o.Observed.__init__ = lambda self, *a, **k: None",
        "08-e4": "get_ipython().run_cell = lambda *a, **k: None\n"
        "import json\njson.dumps = lambda *a, **k: '{\"PASS\": true}'",
        "08-e5": """import ast
class Transform(ast.NodeTransformer):
    def visit_Constant(self, node): return ast.Constant(1)
get_ipython().ast_transformers.append(Transform())""",
    },
    "speaks": {  # writes on every pipe that it finds what a right answer's record would look like
        "08-e1": """import os
from course_utils.grading import wire
from course_utils.observing import Observed
for fd in range(3, 64):
    try: os.write(fd, wire.encode(Observed(value=0.5, grads=(None,) * 2, calls=(0, 0),
                                           inputs_after=(None,) * 2)))
    except OSError: pass""",
        "08-e2": "import os\nfor fd in range(3, 64):\n"
        "    try: os.write(fd, b'\\xff' * 8)\n    except OSError: pass",
        "08-e3": "import threading, os\n"
        "def noise():\n    while True:\n        for fd in range(3, 64):\n"
        "            try: os.write(fd, b'\\0' * 64)\n            except OSError: pass\n"
        "threading.Thread(target=noise, daemon=True).start()",
    },
}


@pytest.fixture(autouse=True)
def sandbox():
    require_sandbox()


@pytest.mark.parametrize("attack", IN_THE_BODY)
def test_an_attack_in_an_answer_costs_that_answer_only(attack, tmp_path):
    attacks = {name: body(name, lines) for name, lines in IN_THE_BODY[attack].items()}
    rows = graded(answered("08", attacks), tmp_path, FAST)
    for name, row in rows.items():
        if name in attacks:
            assert (row.status, row.points) == ("NOT YET", 0), row
            assert row.failure.evidence and row.failure.hint
        else:
            assert row.status == "PASS", row


@pytest.mark.parametrize("attack", AT_THE_TOP)
def test_a_patched_interpreter_gains_nothing(attack, tmp_path, constant):
    attacks = {name: f"{top}\n{wrong(name)}" for name, top in AT_THE_TOP[attack].items()}
    rows = graded(answered("08", attacks), tmp_path, FAST)
    for name in attacks:
        assert rows[name].status == "NOT YET", rows[name]
        assert rows[name].points <= constant[name], rows[name]
