"""What was registered before the runs, and what the two reports claim: both judged by the same rules.

A rule is a mapping with one of
- `above: x` or `below: x`: yes where the interval lies beyond x, no where it lies on the other side,
- `equals: x, within: m`: yes where the interval lies within m of x (an equivalence test: two one-sided tests), no where
  it lies outside. `within: m` alone means `equals: 0`.
Everything else is undecided, so that a noisier run never makes a yes or a no easier.
"""

import numpy as np
import yaml

from helpers.effects import Estimate, mean_interval
from helpers.inputs import ROOT

YES, NO, OPEN = 1, 0, -1
OF_HYPOTHESES = {YES: "confirmed", NO: "refuted", OPEN: "undecided"}
OF_CLAIMS = {YES: "reproduced", NO: "not reproduced", OPEN: "undecided"}


def reports() -> dict:
    """data/reports.yaml: the two reports' numbers and claims, each with its place."""
    return yaml.safe_load((ROOT / "data" / "reports.yaml").read_text(encoding="utf-8"))


def hypotheses() -> dict:
    """data/hypotheses.yaml: what was registered before the published runs."""
    return yaml.safe_load((ROOT / "data" / "hypotheses.yaml").read_text(encoding="utf-8"))


def judge(values, rule: dict, comparisons: int = 1) -> int:
    """YES, NO or OPEN: a rule on the mean of `values`, one a round, with the interval of `effects.mean_interval`."""
    goal, margin = rule.get("equals", 0.0), rule.get("within", np.inf)
    least, most = rule.get("above", goal - margin), rule.get("below", goal + margin)
    mean, half = mean_interval(values, comparisons)  # half is NaN, and so nothing below holds, of too few rounds
    if least < mean - half and mean + half < most:
        return YES
    return NO if mean + half < least or most < mean - half else OPEN


def found(values, rule: dict, unit: str, digits: int = 1, comparisons: int = 1) -> tuple[str, int]:
    """What was found (mean and interval of `values`, one a round) in words, and the verdict; "not run" without values.

    `unit`: points or percent, of shares of 1 (percent with so many `digits`), or any other, of numbers as they are.
    """
    if not len(values):
        return "not run", OPEN
    look = {"points": ("{:+.1f}", " points", 100), "percent": (f"{{:.{digits}f}}", " %", 100)}
    estimate = Estimate(*mean_interval(values, comparisons), *look.get(unit, ("{:.3g}", f" {unit}", 1)))
    return str(estimate), judge(values, rule, comparisons)
