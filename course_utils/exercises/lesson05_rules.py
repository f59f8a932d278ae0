"""Exercise 05-e6: which rule makes each line of the derivation true."""

from collections.abc import Callable

from course_utils.exercises.base import Answer, Draw, Exercise, Observe, Property


def route(letter: str) -> str:
    """The rule that makes a line true. Notation: w = p(z) p(x|z) / q(z|x) at a draw z ~ q(z|x).

    Lines, in no order:
      a: log E_q[w] >= E_q[log w]                   b: p(x) = p(z) p(x|z) / p(z|x)
      c: log p(x) = E_q[log p(x)]                   d: E_q[log q(z|x)/p(z|x)] = KL(q || p(z|x))
      e: E_q[log w] + KL(q || p(z|x)) >= E_q[log w] f: p(x) = ∫ p(z) p(x|z) dz
      g: log E_q[w] = E_q[log w], if q = p(z|x)     h: ∫ q(z|x) w dz = E_q[w]
      i: E_q[log w] = E_q[log p(x|z)] - E_q[log q(z|x)/p(z)]
      j: ∫ p(z) p(x|z) dz = ∫ q(z|x) p(z) p(x|z)/q(z|x) dz
      k: E_q[(w_1 + ... + w_n)/n] = p(x), where E_q[w_i] = p(x)
      l: E_q[log((w_1 + ... + w_n)/n)] <= log p(x)
    Rules: "Bayes", "definition of E", "definition of KL", "E of a constant", "Jensen", "KL >= 0",
      "linearity", "marginalise", "times one". A rule may serve twice.
    """
    rules = {"a": "Jensen", "b": "Bayes", "c": "E of a constant", "d": "definition of KL"}
    rules |= {"e": "KL >= 0", "f": "marginalise", "g": "E of a constant", "h": "definition of E"}
    rules |= {"i": "linearity", "j": "times one", "k": "linearity", "l": "Jensen"}
    return rules[letter]


INEQUALITIES, DISGUISED = "ael", "cgk"  # = or >=, and equalities that look like Jensen's
RULES = (
    *("Bayes", "definition of E", "definition of KL", "E of a constant", "Jensen", "KL >= 0"),
    *("linearity", "marginalise", "times one"),
)


def _rules(answer: Answer, observe: Observe, lines: str) -> dict[str, object]:
    return {line: observe(answer, line).value for line in lines}


def _names_a_rule(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    said = _rules(answer, observe, "abcdefghijkl")
    for line, rule in said.items():
        if rule not in RULES:
            return f"line {line}: {rule!r} is not the name of a rule in the list"
    return f"every line: {said['a']!r}" if len(set(said.values())) == 1 else None


def _relation_fits(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for line, rule in _rules(answer, observe, "abcdefghijkl").items():
        if (rule in ("Jensen", "KL >= 0")) != (line in INEQUALITIES):
            sign = "an inequality" if line in INEQUALITIES else "an equality"
            return f"line {line} is {sign}, {rule!r} is a rule for the other kind"
    return None


def _right(lines: str) -> Callable:
    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        said = _rules(answer, observe, lines)
        wrong = [line for line, rule in said.items() if rule != route(line)]
        return f"line {wrong[0]}: {said[wrong[0]]!r} is not what makes it true" if wrong else None

    return test


ROUTE = (
    Property(
        "every line gets the name of a rule in the list, not all the same",
        "Return one of the nine names, spelled as in the list, for each of the lines a to l.",
        _names_a_rule,
    ),
    Property(
        "equalities get rules for equalities, inequalities get rules for inequalities",
        "Read the sign first: is it = or >= ? Two of the nine rules give an inequality.",
        _relation_fits,
    ),
    Property(
        "the three inequalities have their rule",
        "One rule moves a logarithm past an average; the other drops a term that cannot be "
        "negative. Which of them happens here?",
        _right(INEQUALITIES),
    ),
    Property(
        "equalities that look like Jensen's have their rule",
        "Before you average, ask what is random: does the thing inside depend on z at all? And is "
        "there a logarithm to move past?",
        _right(DISGUISED),
    ),
    Property(
        "the other equalities have their rule",
        "Say in words what changed from left to right: a factor, a name, a sum, or an integral?",
        _right("bdfhij"),
    ),
)

EXERCISES = (Exercise("05-e6", "Name the rule", 10, 1, ROUTE, route),)
