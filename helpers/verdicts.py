"""What was registered before the runs, and what the two reports claim: both judged by the same rules.

A rule is a mapping with one of
- `above: x` or `below: x`: yes where the interval lies beyond x, no where it lies on the other side,
- `equals: x, within: m`: yes where the interval lies within m of x (an equivalence test: two one-sided tests), no where
  it lies outside. `within: m` alone means `equals: 0`.
Everything else is undecided, so that a noisier run never makes a yes or a no easier.
"""

from functools import lru_cache

import numpy as np
import pandas as pd
import yaml

from helpers.effects import Estimate, mean_interval
from helpers.inputs import ROOT

YES, NO, OPEN = 1, 0, -1
OF_HYPOTHESES = {YES: "confirmed", NO: "refuted", OPEN: "undecided"}
OF_CLAIMS = {YES: "reproduced", NO: "not reproduced", OPEN: "undecided"}


@lru_cache
def reports() -> dict:
    """data/reports.yaml: the two reports' numbers and claims, each with its place."""
    return yaml.safe_load((ROOT / "data" / "reports.yaml").read_text())


@lru_cache
def hypotheses() -> dict:
    """data/hypotheses.yaml: what was registered before the published runs."""
    return yaml.safe_load((ROOT / "data" / "hypotheses.yaml").read_text())


def judge(values, rule: dict, comparisons: int = 1) -> int:
    """YES, NO or OPEN: a rule on the mean of `values`, one a round, with the interval of `effects.mean_interval`."""
    goal, margin = rule.get("equals", 0.0), rule.get("within", np.inf)
    least, most = rule.get("above", goal - margin), rule.get("below", goal + margin)
    mean, half = mean_interval(values, comparisons)  # half is NaN, and so nothing below holds, of too few rounds
    if least < mean - half and mean + half < most:
        return YES
    return NO if mean + half < least or most < mean - half else OPEN


def of_hypotheses(values: dict[str, pd.Series]) -> pd.DataFrame:
    """One row per registered hypothesis: `id`, `chapter`, `says`, `found` (percentage points), `rounds`, `verdict`.

    `values` has each hypothesis's number of every round by its id; what is not there was not run, and is undecided. The
    intervals are corrected for all registered hypotheses and both looks at them together.
    """
    registered, rows = hypotheses()["hypotheses"], []
    for one in registered:
        unit = "percent" if one.get("above", 0) > 0.5 else "points"  # an accuracy, or a difference of two
        measured = values.get(one["id"], ())
        found, verdict = _found(measured, one, unit, 2, len(registered) * hypotheses()["looks"])
        row = {name: one[name] for name in ("id", "chapter", "says")}
        rows.append(row | {"found": found, "rounds": len(measured), "verdict": OF_HYPOTHESES[verdict]})
    return pd.DataFrame(rows)


def of_claims(values: dict[str, pd.Series]) -> pd.DataFrame:
    """One row per claim of the reports: `report`, `where`, `claim`, `ours` and `verdict`.

    `values` has what a claim is `of`, one number a round, each compared on its own with 95 % intervals.
    """
    rows = []
    for claim in reports()["claims"]:
        for family in claim.get("families", [""]):
            measured = values.get(claim["of"].format(family=family), ())
            ours, verdict = _found(measured, claim, claim.get("in", "points"))
            words = f"{family}: {claim['claim']}" if family else claim["claim"]
            row = {"report": claim["report"], "where": claim["where"], "claim": words, "ours": ours}
            rows.append(row | {"verdict": OF_CLAIMS[verdict]})
    return pd.DataFrame(rows)


def _found(values, rule: dict, unit: str, digits: int = 1, comparisons: int = 1) -> tuple[str, int]:
    """What was found, in words, and the verdict."""
    if not len(values):
        return "not run", OPEN
    look = {"points": ("{:+.1f}", " points", 100), "percent": (f"{{:.{digits}f}}", " %", 100)}
    estimate = Estimate(*mean_interval(values, comparisons), *look.get(unit, ("{:.3g}", f" {unit}", 1)))
    return str(estimate), judge(values, rule, comparisons)
