"""What is asked of the digits: labels, probabilities and chance, against brute force over all combinations."""

import pytest
import torch
from conftest import by_hand

from helpers.inputs import InputError
from helpers.models import Architecture, build, count_parameters
from helpers.questions import SHIPPED, ask, short

OWN = ("first + 1 == second", "abs(first - second) // 4", "first if first > second else 2 * second")


@pytest.mark.parametrize(
    ("question", "images"), [*((q, n) for q in SHIPPED for n in (2, 3, 4)), *((q, 2) for q in OWN)]
)
def test_labels_are_the_answers_of_every_combination(question, images):
    classes = torch.cartesian_prod(*[torch.arange(10)] * images)
    labels = ask(question, images).labels(classes)
    assert labels.tolist() == [by_hand(question, row) for row in classes.tolist()]
    assert ask(question, images).answers == max(labels.tolist()) + 1


@pytest.mark.parametrize(("question", "images"), [*((q, n) for q in SHIPPED for n in (2, 3)), *((q, 2) for q in OWN)])
def test_the_fixed_head_adds_up_the_combinations_of_each_answer(question, images):
    asked = ask(question, images)
    head = build(Architecture(({"linear": 10},), ("fixed",), images=images, question=question)).head
    logits = torch.randn(20, images, 10)
    expected = torch.zeros(20, asked.answers)
    for combination in torch.cartesian_prod(*[torch.arange(10)] * images):
        probability = torch.stack([logits.softmax(dim=2)[:, i, c] for i, c in enumerate(combination)]).prod(dim=0)
        expected[:, asked.labels(combination[None])] += probability[:, None]
    assert torch.allclose(head(logits).exp(), expected.clamp(1e-6, 1 - 1e-6), atol=1e-5)
    assert count_parameters(head) == 0


@pytest.mark.parametrize("question", ["less than or equal", "sum", "sum modulo 3"])
def test_many_digits_are_no_trouble(question):
    asked = ask(question, 12)
    assert sum(matrix.numel() for matrix in asked.matrices()) < 2_000_000
    digits = torch.randint(10, (50, 12))
    assert asked.labels(digits).tolist() == [by_hand(question, row) for row in digits.tolist()]
    answers = asked.probabilities(torch.rand(5, 12, 10).softmax(dim=2))
    assert torch.allclose(answers.sum(dim=1), torch.ones(5), atol=1e-4)


@pytest.mark.parametrize("question", [*SHIPPED, *OWN])
def test_chance_is_the_share_of_each_answer_among_random_digits(question):
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 7])
    pairs = ask(question).labels(torch.cartesian_prod(labels, labels))
    expected = torch.bincount(pairs, minlength=ask(question).answers) / 49
    assert ask(question).shares(labels) == pytest.approx(expected.tolist())


@pytest.mark.parametrize(
    "question",
    ["", "first <", "third > first", "import os", "first ** second", "first.real", "__import__('os')", "[first]",
     "first - second", "first // second", "'yes'", 1.5, 3, None, ["sum"], "(lambda: 1)()", "0 * first", "1",
     "first * 1000", "first * 10**400", "0x" + "f" * 400, "(" * 300 + "first" + ")" * 300],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_one_sentence(question):
    with pytest.raises(InputError, match="question: ") as refusal:
        ask(question)
    assert "\n" not in str(refusal.value)


def test_questions_have_short_names_of_their_own():
    names = [short(question) for question in (*SHIPPED, *OWN)]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalnum() for name in names)
