"""What the kernel of a stored lesson proves once its cells have run.

`closing` is three cells that `test_stored.py` puts at a lesson's end: with the references in the
students' place every check says PASS; every control, moved once to its other end, draws another
picture; and with answers in NumPy, which pass as well, the cells that read them run on.
"""

import gc

import nbformat
from nbformat import NotebookNode

from course_utils import exercises
from course_utils.checks import check, use
from course_utils.notebook.names import names_of, parsed
from course_utils.widgets import Explorer
from tests.exercises.harness import in_numpy
from tests.notebooks.lessons import CONTROLS, LESSONS, calls, code_cells, tags


def closing(lesson: str, cells: list[NotebookNode]) -> list[NotebookNode]:
    """The three cells for a lesson ("05") with these cells."""
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    figures = sum(name in CONTROLS for source in code for name, _ in calls(source))
    proofs = [f"references({lesson!r}, globals())", f"controls({figures})"]
    proofs += [f"answers_in_numpy({lesson!r}, globals())"]
    start = "from tests.notebooks import afterwards\nafterwards."
    return [nbformat.v4.new_code_cell(start + proof) for proof in proofs]


def references(lesson: str, space: dict) -> None:
    """Every check passes the reference, written into the lesson as a student writes an answer."""
    for exercise in exercises.of_lesson(lesson):
        exec(exercise.solution, space)
        shown = check(exercise.id, space[exercise.name], record=False)
        assert shown.verdict.status == "PASS", shown


def answers_in_numpy(lesson: str, space: dict) -> None:
    """The cells that read an answer run with it in NumPy; what trains, trains on a reference."""
    answers = exercises.of_lesson(lesson)
    for exercise in answers:
        space[exercise.name] = use(exercise.id, in_numpy(exercise.reference))
    names = {exercise.name for exercise in answers}
    cells = [cell for path in LESSONS if path.name[:2] == lesson for cell in code_cells(path)]
    for cell in cells:
        hands_on = "use" in dict(calls(cell.source))
        if hands_on or tags(cell) & {"train", "exercise", "check-answer"}:
            continue
        if names & names_of(parsed(cell.source)).reads:
            exec(compile(cell.source, cell.id, "exec"), space)


def controls(figures: int) -> None:
    """Every control of so many figures, moved to its other end, draws another picture."""
    explorers = [one for one in gc.get_objects() if type(one) is Explorer]
    assert len(explorers) == figures
    for explorer in explorers:
        # Sliders first: at another choice one may have nothing to move.
        for control in sorted(explorer.controls.values(), key=lambda one: hasattr(one, "options")):
            before = picture(explorer)
            control.value = other_end(control)  # draws, and raises what the drawing raises
            moved = f"{control.description!r} at {control.value!r} of {explorer.plot}"
            assert picture(explorer) != before, f"nothing has changed with {moved}"


def picture(explorer: Explorer) -> str:
    """The picture where the controls stand, as it is kept for the next key."""
    data, _ = explorer.pictures.at({name: one.value for name, one in explorer.controls.items()})
    return data["image/png"]


def other_end(control) -> object:
    """The end of a slider where it does not stand, or another of a row of buttons."""
    if hasattr(control, "options"):
        values = [one[1] if isinstance(one, tuple) else one for one in control.options]
        return next(value for value in values if value != control.value)
    return control.min if control.value == control.max else control.max
