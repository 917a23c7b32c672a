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
    mean, half = mean_interval(values, comparisons)
    if np.isnan(half):
        return OPEN
    low, high = mean - half, mean + half
    if "within" in rule:
        least, most = (rule.get("equals", 0.0) + sign * rule["within"] for sign in (-1, 1))
        return YES if least < low and high < most else NO if high < least or most < low else OPEN
    bound, turn = (rule["above"], 1) if "above" in rule else (rule["below"], -1)
    low, high = sorted((turn * (low - bound), turn * (high - bound)))
    return YES if low > 0 else NO if high < 0 else OPEN


def of_hypotheses(values: dict[str, pd.Series]) -> pd.DataFrame:
    """One row per registered hypothesis: `id`, `chapter`, `says`, `found` (percentage points), `rounds`, `verdict`.

    `values` has each hypothesis's number of every round by its id; what is not there was not run, and is undecided. The
    intervals are corrected for all registered hypotheses and both looks at them together.
    """
    registered, rows = hypotheses()["hypotheses"], []
    comparisons = len(registered) * hypotheses()["looks"]
    for one in registered:
        measured = values.get(one["id"], np.array([]))
        verdict = judge(measured, one, comparisons) if len(measured) else OPEN
        found = "not run"
        if len(measured):
            accuracy = one.get("above", 0) > 0.5  # an accuracy, not a difference of two
            form, unit = ("{:.2f}", " %") if accuracy else ("{:+.1f}", " points")
            found = str(Estimate(*mean_interval(measured, comparisons), form, unit))
        said = {name: one[name] for name in ("id", "chapter", "says")}
        rows.append(said | {"found": found, "rounds": len(measured), "verdict": OF_HYPOTHESES[verdict]})
    return pd.DataFrame(rows)


def of_claims(values: dict[str, pd.Series]) -> pd.DataFrame:
    """One row per claim of the reports: `report`, `where`, `claim`, `ours` and `verdict`.

    `values` has what a claim is `of`, one number a round, each compared on its own with 95 % intervals.
    """
    rows = []
    for claim in reports()["claims"]:
        for family in claim.get("families", [""]):
            measured = values.get(claim["of"].format(family=family), np.array([]))
            verdict = judge(measured, claim) if len(measured) else OPEN
            scale, form, unit = {"points": (100, "{:+.1f}", " points"), "percent": (100, "{:.1f}", " %")}.get(
                claim.get("in", "points"), (1, "{:.3g}", f" {claim.get('in', '')}")
            )
            ours = str(Estimate(*mean_interval(measured), form, unit, scale)) if len(measured) else "not run"
            said = f"{family}: {claim['claim']}" if family else claim["claim"]
            row = {"report": claim["report"], "where": claim["where"], "claim": said, "ours": ours}
            rows.append(row | {"verdict": OF_CLAIMS[verdict]})
    return pd.DataFrame(rows)
