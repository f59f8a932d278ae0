"""A call of a student's function is recorded as plain data, whatever the function does."""

import signal
import sys
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from course_utils import observing
from course_utils.observing import OUTPUT_LIMIT, Recipe, Seed, observe, plain

X = torch.tensor([[1.0, -2.0], [3.0, 4.0]], dtype=torch.float64)


def _forever(x):
    while True:
        pass


def _swallows_everything(x):
    while True:
        try:
            time.sleep(0.01)
        except:  # noqa: E722 - what a student may write
            pass


def _swallows_twice(x):
    while True:
        try:
            try:
                x = x.tanh() + 1
            except:  # noqa: E722
                pass
        except BaseException:
            continue


def _waits_in_a_finally(x):
    try:
        raise ValueError
    finally:
        while True:
            pass


timer_signal = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="this system has no timer signal"
)
LOOPS = [_forever, _swallows_everything, _swallows_twice, _waits_in_a_finally]


@timer_signal  # without one, a loop may swallow the interrupts and never end
@pytest.mark.parametrize("loop", LOOPS)
def test_endless_loop_is_cut_with_a_message(loop):
    start = time.process_time()
    seen = observe(loop, X, seconds=0.2, patience=0.6)
    assert time.process_time() - start < 2
    assert seen.error.kind == "TimeLimit" and "endless loop" in seen.error.message
    assert loop.__name__ in seen.error.lines[-1]  # where it was
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert observe(lambda x: x, X).error is None  # the next call is not hit by a late ring


@pytest.mark.parametrize(
    "timer", [pytest.param(True, marks=timer_signal, id="signal"), pytest.param(False, id="thread")]
)
def test_processor_time_counts_and_a_call_that_waits_has_longer(timer, monkeypatch):
    if not timer:
        monkeypatch.delattr(signal, "setitimer", raising=False)

    def waits(seconds):  # as on a busy machine
        for _ in range(round(seconds / 0.02)):
            time.sleep(0.02)
        return seconds

    assert observe(waits, 0.4, seconds=0.1, patience=60.0).value == 0.4
    assert observe(waits, 60.0, seconds=0.1, patience=0.2).error.kind == "TimeLimit"
    start = time.process_time()
    assert observe(_forever, X, seconds=0.2, patience=60.0).error.kind == "TimeLimit"
    assert 0.2 <= time.process_time() - start < 2


@timer_signal
def test_alarm_leaves_the_handler_and_stdout_as_they_were():
    def mine(number, frame):
        raise AssertionError("rang")

    before, stream = signal.signal(signal.SIGALRM, mine), sys.stdout
    try:
        for _ in range(50):
            observe(_swallows_everything, X, seconds=0.01, patience=0.02)
            assert signal.getsignal(signal.SIGALRM) is mine and sys.stdout is stream
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("loop", [_forever, _waits_in_a_finally])
def test_loop_is_cut_without_timer_signals_too(loop, monkeypatch):
    monkeypatch.delattr(signal, "setitimer", raising=False)
    seen = observe(loop, X, seconds=0.2)
    assert seen.error.kind == "TimeLimit"
    time.sleep(0.05)  # no interrupt is left over
    assert observe(lambda x: 1.0, X).value == 1.0


def _pressed_stop(*_):
    raise KeyboardInterrupt


def test_the_students_interrupt_goes_through(monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        observe(_pressed_stop, X)
    if hasattr(signal, "setitimer"):
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    monkeypatch.delattr(signal, "setitimer", raising=False)
    with pytest.raises(KeyboardInterrupt):
        observe(_pressed_stop, X)


@timer_signal
def test_a_real_sigint_goes_through():
    main = threading.main_thread().ident
    timer = threading.Timer(0.1, signal.pthread_kill, [main, signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        observe(_forever, X, seconds=5)


def test_a_thread_other_than_the_main_one_can_observe():
    found = []
    worker = threading.Thread(target=lambda: found.append(observe(lambda x: x + 1, X)))
    worker.start()
    worker.join()
    assert torch.equal(found[0].value, X + 1)


def _divides(x):
    return _helper(x)


def _helper(x):
    return 1 / 0


def test_an_exception_is_recorded_with_the_students_lines():
    error = observe(_divides, X).error
    assert (error.kind, error.message) == ("ZeroDivisionError", "division by zero")
    assert [line.split(": ", 1)[1] for line in error.lines] == ["return _helper(x)", "return 1 / 0"]


def _inside_libraries(x):
    import json

    torch.linalg.solve(x, x[:1])
    json.loads("{")


def test_lines_of_libraries_and_of_the_course_are_left_out():
    for answer in (_inside_libraries, lambda x: __import__("json").loads("{")):
        lines = observe(answer, X).error.lines
        assert len(lines) == 1 and "observing" not in lines[0] and "decode" not in lines[0]
    seen = observe(lambda f: f(1, 2, 3), Recipe("lambda z: z"))
    assert len(seen.error.lines) == 1


def test_a_syntax_error_shows_the_line_it_is_in():
    seen = observe(lambda x: exec("a = 1\nb = = 2"), X)
    assert seen.error.kind == "SyntaxError" and "b = = 2" in seen.error.lines[-1]


class _BadMessage(Exception):
    def __str__(self):
        raise RuntimeError


class _NotAnException(BaseException):
    pass


@pytest.mark.parametrize(
    "error", [SystemExit(1), GeneratorExit(), _NotAnException(), _BadMessage(), RecursionError()]
)
def test_every_other_exception_is_recorded(error):
    def answer(x):
        raise error

    assert observe(answer, X).error.kind == type(error).__name__


def test_deep_recursion_is_recorded():
    def answer(x):
        return answer(x)

    seen = observe(answer, X)
    assert seen.error.kind == "RecursionError" and 1 <= len(seen.error.lines) <= 5


def _changes_everything(x, array, parts, table, module):
    x *= 0
    array[:] = 0
    parts[0] += 1
    parts.append(3)
    table["a"] = None
    nn.init.zeros_(module.weight)
    return x


def test_each_call_gets_fresh_copies():
    array, parts, table = np.ones(3), [X.clone(), 2.0], {"a": 1}
    inputs = (X.clone(), array, parts, table, Recipe("nn.Linear(2, 1)", seed=3))
    first, second = (observe(_changes_everything, *inputs) for _ in range(2))
    assert torch.equal(inputs[0], X) and array.tolist() == [1, 1, 1]
    assert len(parts) == 2 and torch.equal(parts[0], X) and table == {"a": 1}
    for seen in (first, second):
        after = seen.inputs_after
        assert after[0].abs().sum() == 0 and after[1].sum() == 0 and after[3] == {"a": None}
        assert torch.equal(after[2][0], X + 1) and len(after[2]) == 3
        assert after[4]["weight"].abs().sum() == 0


def test_what_is_returned_is_no_alias_of_an_input():
    kept = []

    def answer(x):
        kept.append(x)
        return x

    seen = observe(answer, X)
    kept[0].zero_()
    assert torch.equal(seen.value, X)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (1.5, "a float, asked are 2: mean, var"),
        (None, "a NoneType, asked are 2"),
        ((1.0,), "a tuple of 1, asked are 2"),
        (X[:, :1].T, r"a Tensor of shape \(1, 2\), asked are 2"),
        (X[0, 0], r"a Tensor of shape \(\), asked are 2"),
    ],
)
def test_parts_that_are_not_there_are_listed(value, says):
    with pytest.raises(ValueError, match=says):
        observe(lambda: value).parts("mean", "var")


@pytest.mark.parametrize("value", [(1.0, 2.0), [1.0, 2.0], np.array([1.0, 2.0])])
def test_a_pair_in_any_form_has_its_parts(value):
    assert observe(lambda: value).parts("mean", "var") == [1.0, 2.0]


def test_gradients_of_tensors_and_modules():
    def answer(x, y, module):
        module(x).sum().backward()
        return x**2

    seen = observe(
        answer, X.float().requires_grad_(), X.clone().requires_grad_(), Recipe("nn.Linear(2, 1)")
    )
    assert torch.equal(seen.grads[0], 2 * X.float()) and seen.grads[1] is None
    assert set(seen.grads[2]) == {"weight", "bias"}
    assert not seen.value.requires_grad
    assert observe(lambda x: x.detach(), X.clone().requires_grad_()).grads == (None,)


def test_recipes_are_built_alike_and_their_calls_counted():
    def answer(f, module, n):
        return torch.stack([f(module(torch.ones(2))).sum() for _ in range(n)])

    inputs = Recipe("lambda z: z**2"), Recipe("nn.Linear(2, 3)", seed=5), 4
    first, second = observe(answer, *inputs), observe(answer, *inputs)
    assert first.calls == (4, 4, 0) and torch.equal(first.value, second.value)
    other = observe(answer, inputs[0], Recipe("nn.Linear(2, 3)", seed=6), 4)
    assert not torch.equal(first.value, other.value)


def test_a_recipe_sees_the_inputs_before_it_and_an_optimisers_steps_are_counted():
    def answer(module, optimiser, x):
        for _ in range(3):
            module(x).sum().backward()
            optimiser.step()

    inputs = Recipe("nn.Linear(2, 1)"), Recipe("torch.optim.SGD(inputs[0].parameters(), lr=0.1)")
    seen = observe(answer, *inputs, torch.ones(1, 2))
    assert seen.error is None and seen.calls == (3, 3, 0)
    before = observe(lambda *_: None, *inputs, torch.ones(1, 2)).inputs_after[0]
    moved = seen.inputs_after[0]["bias"] - before["bias"]  # gradients 1, 2, 3 add up
    torch.testing.assert_close(moved, torch.tensor([-0.6]))
    assert seen.inputs_after[1] is None


def test_a_seed_becomes_a_generator_and_global_noise_stays_untouched():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first, again = (observe(lambda g: torch.randn(4, generator=g), Seed(7)) for _ in range(2))
    observe(lambda x: torch.manual_seed(1) and torch.rand(5), X)
    assert torch.equal(first.value, again.value)
    assert torch.equal(torch.rand(3), expected)


def test_noise_that_ignores_the_generator_differs_from_call_to_call():
    first, again = (observe(lambda g: torch.randn(4), Seed(7)).value for _ in range(2))
    assert not torch.equal(first, again)


def test_printing_is_kept_up_to_a_limit(capsys):
    assert observe(lambda x: print("here", 1), X).stdout == "here 1\n"

    def chatters(x):
        while True:
            print("a" * 1000)

    assert len(observe(chatters, X, seconds=0.2).stdout) == OUTPUT_LIMIT
    assert capsys.readouterr().out == ""


class _Subclass(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *_, **__):
        return "lie"

    def detach(self):
        return "lie"


class _Float(float):
    def __float__(self):
        return 0.0

    def __sub__(self, other):
        return 0.0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (X.clone().requires_grad_() * 2, 2 * X),
        (nn.Parameter(X), X),
        (X.as_subclass(_Subclass), X),
        (torch.tensor(float("nan")), torch.tensor(float("nan"))),
        (X.to(torch.bfloat16), X.to(torch.bfloat16)),
    ],
)
def test_tensors_come_back_as_plain_tensors(given, expected):
    value = observe(lambda: given).value
    assert type(value) is torch.Tensor and not value.requires_grad
    torch.testing.assert_close(value, expected, equal_nan=True)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.float64(1.5), 1.5),
        (np.array(3), 3),
        (np.bool_(True), True),
        (_Float(2.5), 2.5),
        (np.longdouble(0.5), 0.5),
        ((1, [2.0, "three", None]), (1, [2.0, "three", None])),
        ({1: True}, {"1": True}),
    ],
)
def test_numbers_and_containers_come_back_as_plain_ones(given, expected):
    value = observe(lambda: given).value
    assert value == expected and type(value) is type(expected)


class _Lies:
    """Says that it is a tensor, and equal to everything."""

    def __init__(self, kind):
        self.kind = kind

    @property
    def __class__(self):
        return self.kind

    def __eq__(self, other):
        return True

    __hash__ = None


OTHERS = {
    "object": object(),
    "set": {1, 2},
    "function": print,
    "generator": torch.Generator(),
    "array of functions": np.array([print]),
    "array of dicts": np.array([{}]),
    "list of objects": [object()],
} | {
    f"pretends to be {kind.__name__}": _Lies(kind)
    for kind in (torch.Tensor, float, int, str, bool, np.ndarray)
}


@pytest.mark.parametrize("name", OTHERS)
def test_anything_else_is_refused(name):
    assert observe(lambda: OTHERS[name]).error.kind == "TypeError"
    with pytest.raises(TypeError):
        plain(OTHERS[name])


def test_a_list_that_holds_itself_is_refused():
    endless = []
    endless.append(endless)
    assert observe(lambda: endless).error.kind == "RecursionError"


def test_an_input_that_is_no_longer_plain_is_an_error():
    assert observe(lambda parts: parts.append(object()), [1.0]).error.kind == "TypeError"


def test_the_limit_is_seconds_long():
    assert 1 <= observing.SECONDS < observing.PATIENCE <= 30
