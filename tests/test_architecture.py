"""The package keeps its shape: layers, budgets, sources; each rule is seen to reject a plant."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "course_utils"
FAMILIES = {
    *("autoregressive", "flows", "flow_matching", "autoencoders", "vae", "vq", "gan", "diffusion"),
}
# A module imports only from rows above its own; a folder is one entry.
LAYERS = (
    {"place", "time_limit"},
    {"runtime", "tensors"},
    {"distributions", "networks", "schedules"},
    {"unet", "archives", "shapes", "checkpoints"},
    {"data", "training", "explorer"},
    FAMILIES | {"metrics"},
    {"derivation", "observing", "plots"},
    {"widgets", "progress", "exercises"},
    {"checks"},
    {"notebook"},
    {"grading", "present"},
    {"classroom"},
    {"setup", "terminal"},
    {"cli"},
    {"__main__"},
)
# In plots/ and exercises/ a module imports what is shared, and nothing else of its folder; in the
# folders of tools the modules form a chain, each may import those before it.
SHARED = {"plots": ("base", "images"), "exercises": ("base",)}
CHAINS = {
    "explorer": ("pixels", "pictures"),
    "notebook": ("names", "file", "authoring", "handout", "site"),
    "present": ("decks", "lab", "memory"),
    "grading": (
        *("base", "wire", "seccomp", "box", "runner", "names", "notebook", "grade"),
        *("archives", "tables", "collect", "run", "report", "batch"),
    ),
    "classroom": ("release", "submit", "merge", "update"),
    "setup": ("install", "doctor"),
}
ROW = {name: row for row, names in enumerate(LAYERS) for name in names}
MODULE_LINES, FUNCTION_LINES = 300, 50
# Lines of code: the maths and what lessons call; a submission's way; the other tools together.
BUDGETS = {"the package": 4000, "grading": 2000, "the tools": 2500}
TOOLS = {"explorer", "notebook", "present", "classroom", "setup"}


def sources(package: Path = PACKAGE) -> dict[str, str]:
    """The source of every module by its path below the package: "vae.py", "plots/base.py"."""
    paths = sorted(package.rglob("*.py"))
    return {p.relative_to(package).as_posix(): p.read_text(encoding="utf-8") for p in paths}


def imported(source: str) -> set[str]:
    """The modules of the package that a source imports, anywhere in it: "vae", "plots.base"."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {n.removeprefix("course_utils.") for n in names if n.startswith("course_utils.")}
    return found


def layer_violations(modules: dict[str, str]) -> list[str]:
    """Imports that go down or sideways, and inside a folder imports of anything but base.py."""
    wrong = []
    for path, source in modules.items():
        own = path.removesuffix(".py").split("/")
        if path == "__init__.py":
            wrong += [f"{path} imports {name}" for name in imported(source)]
            continue
        if own[0] not in ROW:
            wrong.append(f"{path} has no layer: put it into LAYERS, by a decision record")
            continue
        for name in sorted(imported(source)):
            other = name.split(".")
            if other[0] == own[0]:
                allowed = len(own) == len(other[:2]) == 2 and _before(other[1], own)
            else:
                allowed = ROW.get(other[0], 99) < ROW[own[0]]
            if not allowed:
                wrong.append(f"{path} imports {name}")
    return wrong


def _before(other: str, own: list[str]) -> bool:
    """Whether a module of a folder may import another one of it."""
    folder, name = own
    if name == "__init__":
        return True
    allowed = CHAINS.get(folder) or SHARED[folder]
    return other in allowed[: allowed.index(name) if name in allowed else len(allowed)]


def code_lines(source: str) -> int:
    """Lines of code: docstrings, comments and blank lines are not counted."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    described = [n for n in ast.walk(ast.parse(source)) if isinstance(n, kinds)]
    docstrings = [n.body[0] for n in described if ast.get_docstring(n)]
    text = {k for d in docstrings for k in range(d.lineno, d.end_lineno + 1)}
    lines = enumerate(source.splitlines(), start=1)
    return sum(k not in text and not re.match(r"\s*(#|$)", line) for k, line in lines)


def budget_violations(modules: dict[str, str]) -> list[str]:
    """Modules and functions over their number of lines, and rooms over theirs of code."""
    wrong, totals = [], dict.fromkeys([*BUDGETS, ""], 0)
    for path, source in modules.items():
        lines = len(source.splitlines())
        totals[_budget_of(path)] += code_lines(source)
        if lines > MODULE_LINES:
            wrong.append(f"{path} has {lines} lines; at most {MODULE_LINES}")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                if length > FUNCTION_LINES:
                    wrong.append(f"{path}: {node.name} has {length}; at most {FUNCTION_LINES}")
    over = {name: limit for name, limit in BUDGETS.items() if totals[name] > limit}
    told = [f"{name} has {totals[name]} lines of code; at most {over[name]}" for name in over]
    return wrong + told


def _budget_of(path: str) -> str:
    """What a module's code counts for; exercises and plots count for nothing."""
    folder, below, _ = path.partition("/")
    if not below:
        return "the tools" if folder == "cli.py" else "the package"
    return "grading" if folder == "grading" else "the tools" if folder in TOOLS else ""


def source_violations(modules: dict[str, str]) -> list[str]:
    """Public functions of a family module whose docstring names no `Source:`."""
    wrong = []
    for path, source in modules.items():
        if path.removesuffix(".py") not in FAMILIES:
            continue
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                if not re.search(r"^Source: \S", ast.get_docstring(node) or "", re.MULTILINE):
                    wrong.append(f"{path}: {node.name} has no `Source:` line")
    return wrong


def accelerator_violations(modules: dict[str, str]) -> list[str]:
    """Modules beside runtime.py that ask whether CUDA or MPS is there."""
    asks = re.compile(r"torch\.(cuda|backends\.mps|mps)\.(is_available|device_count)")
    return [path for path, text in modules.items() if path != "runtime.py" and asks.search(text)]


def seed_violations(modules: dict[str, str]) -> list[str]:
    """Plots that set a global generator: a thread may draw them while a cell trains."""
    sets = re.compile(r"torch\.(manual_seed|seed|set_rng_state|random\.)|np\.random\.seed")
    return [p for p, text in modules.items() if p.startswith("plots/") and sets.search(text)]


def encoding_violations(modules: dict[str, str]) -> list[str]:
    """Texts read or written in the encoding of the system, which on Windows is not UTF-8."""
    wrong = []
    for path, source in modules.items():
        for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            named = {keyword.arg for keyword in call.keywords}
            given = [ast.unparse(argument) for argument in call.args]
            system = {
                "open": isinstance(call.func, ast.Name) and not re.search("b", " ".join(given[1:])),
                "read_text": not given,
                "write_text": len(given) < 2,
                "run": "text" in named,
                "Popen": "text" in named,
            }
            if system.get(name) and "encoding" not in named:
                wrong.append(f"{path}:{call.lineno} {name} names no encoding")
    return wrong


def test_a_module_imports_only_from_layers_above():
    assert layer_violations(sources()) == []


def test_modules_and_functions_stay_readable_in_one_sitting():
    assert budget_violations(sources()) == []


def test_every_public_function_of_a_family_names_its_source():
    assert source_violations(sources()) == []


def test_texts_are_utf8_on_every_system():
    assert encoding_violations(sources()) == []


def test_only_the_runtime_asks_about_accelerators():
    assert accelerator_violations(sources()) == []


def test_decisions_have_numbers_of_their_own_and_say_them():
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    said = [path.read_text(encoding="utf-8").split()[1] for path in records]
    assert said == [path.name[:4] for path in records] == sorted(set(said))


def test_no_plot_sets_a_global_generator():
    assert seed_violations(sources()) == []
    planted = {"plots/a.py": "with torch.random.fork_rng():", "gan.py": "torch.manual_seed(0)"}
    assert seed_violations({**planted, "plots/b.py": "torch.Generator().manual_seed(0)"}) == [
        "plots/a.py"
    ]


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("vae.py", "from course_utils.flows import coupling", "vae.py imports flows.coupling"),
        ("vae.py", "def f():\n    import course_utils.gan", "vae.py imports gan"),
        ("tensors.py", "from course_utils import vae", "tensors.py imports vae"),
        ("tensors.py", "from course_utils import runtime", "tensors.py imports runtime"),
        (
            "plots/lesson06.py",
            "from course_utils.plots.lesson05 import f",
            "plots/lesson06.py imports plots.lesson05.f",
        ),
        (
            "plots/lesson06.py",
            "from course_utils.widgets import explore",
            "plots/lesson06.py imports widgets.explore",
        ),
        (
            "checks.py",
            "if TYPE_CHECKING:\n    from course_utils import cli",
            "checks.py imports cli",
        ),
        (
            "grading/wire.py",
            "from course_utils.grading import box",
            "grading/wire.py imports grading.box",
        ),
        ("helpers.py", "", "helpers.py has no layer: put it into LAYERS, by a decision record"),
        ("__init__.py", "from course_utils import vae", "__init__.py imports vae"),
        ("vae.py", "from course_utils.helpers import f", "vae.py imports helpers.f"),
    ],
)
def test_a_planted_import_is_found(path, source, expected):
    assert layer_violations({path: source}) == [expected]


def test_legal_imports_are_left_alone():
    legal = {
        "vae.py": "import torch\nfrom course_utils.distributions import kl_to_standard_normal",
        "plots/lesson06.py": "from course_utils import vae",
        "plots/lesson05.py": "from course_utils.plots.base import show",
        "exercises/__init__.py": "from course_utils.exercises.base import Exercise",
        "grading/box.py": "from course_utils.grading import wire",
        "cli.py": "def f():\n    from course_utils.setup.doctor import examine",
    }
    assert layer_violations(legal) == []


def test_planted_lengths_are_found():
    long_function = "def f():\n" + "    x = 1\n" * FUNCTION_LINES
    assert budget_violations({"a.py": long_function}) == ["a.py: f has 51; at most 50"]
    assert budget_violations({"a.py": "x = 1\n" * 301}) == ["a.py has 301 lines; at most 300"]
    full = {f"m{i}.py": "x = 1\n" * 300 for i in range(13)}
    assert budget_violations({**full, "n.py": "x = 1\n" * 100}) == []
    assert len(budget_violations({**full, "n.py": "x = 1\n" * 101})) == 1
    assert budget_violations({**full, "plots/n.py": "x = 1\n" * 101}) == []
    assert budget_violations({**full, "grading/n.py": "x = 1\n" * 101}) == []
    boxes = {f"grading/m{i}.py": "x = 1\n" * 290 for i in range(7)}
    assert budget_violations(boxes) == ["grading has 2030 lines of code; at most 2000"]
    assert code_lines('"""Doc\nstring."""\n\n# why\nx = """1\n2"""\n') == 2


def test_a_missing_source_is_found():
    bare, private = 'def f():\n    """x."""', 'def _f():\n    """x."""'
    sourced = 'def f():\n    """x.\n\n    Source: Kingma & Welling 2014.\n    """'
    expected = ["vae.py: f has no `Source:` line"]
    assert source_violations({"vae.py": bare}) == expected
    assert source_violations({"vae.py": private}) == source_violations({"data.py": bare}) == []
    assert source_violations({"vae.py": sourced}) == []
    assert source_violations({"vae.py": sourced.replace("Kingma & Welling 2014.", "")}) == expected


def test_a_planted_question_about_cuda_is_found():
    asking = "d = 'cuda' if torch.cuda.is_available() else 'cpu'"
    assert accelerator_violations({"gan.py": asking, "runtime.py": asking}) == ["gan.py"]


def test_a_planted_text_without_an_encoding_is_found():
    planted = 'open("x")\npath.read_text()\npath.write_text(text)\nrun(command, text=True)'
    assert len(encoding_violations({"a.py": planted})) == 4
    named = 'open("x", "rb")\npath.read_text("utf-8")\nopen("x", encoding="utf-8")\npath.open("w")'
    assert encoding_violations({"a.py": named}) == []
