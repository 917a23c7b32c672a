"""Figures draw the numbers that they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import defined_in

from helpers import plots, stats


@pytest.fixture
def ax():
    yield plt.figure().subplots()
    plt.close("all")


VALUES = {"top": {"weight sharing": [0.01, 0.02, 0.03, 0.02, 0.02]}, "bottom": {"weight sharing": [-0.01, 0.01]}}


def places(ax, marker="s"):
    """(x, y) of all points of a marker: those of the rounds, and the means."""
    return {tuple(np.round(xy, 6)) for line in ax.lines if line.get_marker() == marker for xy in line.get_xydata()}


def test_rows_show_every_round_and_the_mean_from_top_to_bottom(ax):
    plots.rows(VALUES, ax)
    heights = dict(zip([label.get_text() for label in ax.get_yticklabels()], ax.get_yticks(), strict=True))
    assert heights == {"top": 1, "bottom": 0}
    for label, series in VALUES.items():
        shown = {x for x, y in places(ax) if abs(y - heights[label]) < 0.5}
        numbers = 100 * np.array(series["weight sharing"])
        assert shown == {*np.round(numbers, 6), round(numbers.mean(), 6)}


def test_an_interval_is_drawn_where_the_rounds_are_enough_for_one(ax):
    plots.rows(VALUES, ax)
    _, half = stats.mean_interval(100 * np.array(VALUES["top"]["weight sharing"]))
    (drawn,) = [segment for container in ax.collections for segment in container.get_segments()]
    assert drawn[:, 0].tolist() == pytest.approx([2 - half, 2 + half])


def test_the_gray_band_is_the_margin(ax):
    plots.zero(ax, margin=1)
    assert (ax.patches[0].get_x(), ax.patches[0].get_width()) == (-1, 2)


def test_the_specification_curve_is_sorted_and_marks_what_each_combination_chooses():
    rows = [
        {"relu": relu, "dropout": dropout, "round": r, "auxiliary loss": gain}
        for relu, dropout, gain in ((True, False, 0.03), (True, True, 0.01), (False, False, 0.02))
        for r in range(5)
    ]
    figure = defined_in("05_decides").specification_curve(pd.DataFrame(rows), ["relu", "dropout"], "auxiliary loss")
    effects, choices = figure.axes
    assert {(0, 1), (1, 2), (2, 3)} <= places(effects, "^")
    dark = {tuple(line.get_xydata()[0]) for line in choices.lines if line.get_color() == "0.25"}
    assert dark == {(0, 0), (0, -1), (2, 0)}
    labels = [label.get_text() for label in choices.get_yticklabels()]
    assert labels == ["ReLU before the head", "dropout between linear layers"]
    plt.close(figure)


def test_an_effect_stands_at_its_size(ax):
    defined_in("a3_controls").by_size({"weight sharing": {100: [0.01] * 5, 1000: [0.03] * 5}}, ax, "pairs")
    assert {(100, 1), (1000, 3)} <= places(ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["100", "1,000"]


@pytest.mark.parametrize(("classes", "answer"), [([3, 7], "yes"), ([4, 4], "yes"), ([7, 3], "no")])
def test_the_task_is_shown_with_its_answer(classes, answer):
    figure = defined_in("00_summary").task(torch.rand(2, 14, 14), classes)
    words = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert words.count(f"{classes[0]} ≤ {classes[1]}?\n{answer}") == 2  # without and with weight sharing
    plt.close(figure)
