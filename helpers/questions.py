"""Questions about the digits of an example, as data: its answer, its probability and its labels follow from one table.

A question is answered digit by digit, as by a reader who remembers one thing, its *state*: for an order the last digit
while all is in order, for a sum the sum so far. So nothing has to be enumerated, however many digits there are.
"""

import ast
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from helpers.inputs import InputError, whole_number

CLASSES = 10  # of digits
USUAL = "less than or equal"  # where nothing else is asked
NAMES = ("first", "second", "third", "fourth")  # of the digits, in a question of one's own
OUT = None  # the state of an example that can no longer be in order


@dataclass(frozen=True, eq=False)
class Question:
    """A question about n digits with the answers 0, 1, … (for yes and no: 1 is yes)."""

    text: str
    sentence: str  # as a caption says it, e.g. "first ≤ second"
    answers: int
    steps: tuple[Tensor, ...]  # int64 [states, 10] per digit after the first: state and class to state, at last answer

    def labels(self, digits: Tensor) -> Tensor:
        """The answers, int64 [B], for classes [B, n]."""
        state = digits[:, 0]
        for step, digit in zip(self.steps, digits.unbind(dim=1)[1:], strict=True):
            state = step.to(digits.device)[state, digit]
        return state

    def matrices(self) -> list[Tensor]:
        """For each step the 0/1 matrix [states · 10, next states] that adds up probabilities of (state, class)."""
        sizes = [step.shape[0] for step in self.steps[1:]] + [self.answers]
        return [torch.nn.functional.one_hot(s.flatten(), n).float() for s, n in zip(self.steps, sizes, strict=True)]

    def probabilities(self, digits: Tensor, matrices: list[Tensor] | None = None) -> Tensor:
        """The answers' probabilities [B, answers] for independent digits with class probabilities [B, n, 10]."""
        state, *others = digits.unbind(dim=1)
        for matrix, digit in zip(matrices or self.matrices(), others, strict=True):
            state = (state.unsqueeze(2) * digit.unsqueeze(1)).flatten(1) @ matrix
        return state

    def shares(self, labels) -> list[float]:
        """The shares of the answers when every digit is drawn at random from `labels` [N], an array of classes."""
        classes = torch.bincount(torch.as_tensor(labels).long(), minlength=CLASSES).double()
        matrices = [matrix.double() for matrix in self.matrices()]
        drawn = (classes / classes.sum()).expand(1, len(self.steps) + 1, CLASSES)
        return self.probabilities(drawn, matrices)[0].tolist()


def _ordered(allowed: Callable) -> tuple[Callable, Callable]:
    return (
        lambda last, digit: digit if last is not OUT and allowed(last, digit) else OUT,
        lambda state: int(state is not OUT),
    )


SHIPPED = {  # text: (symbol, (state and digit to state, state to answer)); the first state is the first digit
    USUAL: ("≤", _ordered(lambda last, digit: last <= digit)),
    "less than": ("<", _ordered(lambda last, digit: last < digit)),
    "equal": ("=", _ordered(lambda last, digit: last == digit)),
    "sum": ("+", (lambda state, digit: state + digit, lambda state: state)),
    "sum modulo 3": ("+", (lambda state, digit: (state + digit) % 3, lambda state: state % 3)),
}


def ask(text: str, images: int = 2) -> Question:
    """The question of this text about so many digits: one of SHIPPED, or an expression such as first + 1 == second.

    An expression may use the digits' NAMES, whole numbers, + - * // %, comparisons, and/or/not, abs, min and max; a
    truth value counts as 1 or 0. Raises InputError in one sentence.
    """
    whole_number("images", images, 2, 100)
    if not isinstance(text, str):
        raise InputError(f"question: {text!r} was given, allowed is a text: {', '.join(SHIPPED)}, or an expression.")
    return _asked(text, images)


@lru_cache(maxsize=64)
def _asked(text: str, images: int) -> Question:
    if text in SHIPPED:
        symbol, (step, answer) = SHIPPED[text]
        names = NAMES[:images] if images <= len(NAMES) else (*NAMES[:2], "…", "last")
        sentence = f" {symbol} ".join(names)
        sentence = f"({sentence}) modulo 3" if text == "sum modulo 3" else sentence
    else:
        evaluate, sentence = _expression(text, images), text
        step, answer = (lambda state, digit: (*state, digit)), (lambda state: evaluate(*state))
    first = [(digit,) for digit in range(CLASSES)] if text not in SHIPPED else list(range(CLASSES))
    states, steps = first, []
    for place in range(1, images):
        following = [[step(state, digit) for digit in range(CLASSES)] for state in states]
        if place == images - 1:
            table = [[answer(state) for state in row] for row in following]
        else:
            states = list(dict.fromkeys(state for row in following for state in row))
            index = {state: i for i, state in enumerate(states)}
            table = [[index[state] for state in row] for row in following]
        if place == images - 1 and not 0 <= min(map(min, table)) < max(map(max, table)) < 1000:
            raise InputError(
                f"question: {text!r:.100} was given, allowed is one whose answers are whole numbers from 0 to 999, "
                "more than one, for all digits."
            )
        steps.append(torch.tensor(table))
    answers = int(steps[-1].max()) + 1
    return Question(text, sentence, answers, tuple(steps))


def short(text: str) -> str:
    """A question as part of a file's name: its words, or for an expression its hash."""
    text = str(text)
    return re.sub(r"\W+", "-", text) if text in SHIPPED else f"own-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


ALLOWED = (ast.Expression, ast.BinOp, ast.BoolOp, ast.UnaryOp, ast.Compare, ast.IfExp, ast.Load)
ALLOWED += (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.USub, ast.And, ast.Or, ast.Not, ast.cmpop)


def _expression(text: str, images: int) -> Callable:
    """The function of the digits that an expression describes, with nothing in it that could do harm."""
    names, functions = NAMES[:images], {"abs": abs, "min": min, "max": max}
    allowed = f"one of {', '.join(SHIPPED)}, or an expression of {', '.join(names)} such as first + 1 == second"
    if images > len(NAMES):
        raise InputError(f"question: {text!r} was given, allowed for {images} images is one of {', '.join(SHIPPED)}.")
    try:
        tree = ast.parse(text, mode="eval")
        for node in ast.walk(tree):
            known = isinstance(node, ast.Name) and node.id in (*names, *functions)
            known |= isinstance(node, ast.Constant) and type(node.value) in (int, bool)
            known |= isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions
            if not known and not isinstance(node, ALLOWED):
                raise ValueError(ast.unparse(node))
        code = compile(tree, "question", "eval")

        def evaluate(*digits: int) -> int:
            try:
                value = eval(code, {"__builtins__": {}, **functions}, dict(zip(names, digits, strict=True)))
            except ZeroDivisionError:
                return -1  # no answer
            return int(value)

        evaluate(*range(1, images + 1))
    except (SyntaxError, ValueError, TypeError, ArithmeticError, MemoryError, RecursionError):
        raise InputError(f"question: {text!r} was given, allowed is {allowed}.") from None
    return evaluate
