"""The reports' claims are judged by the numbers, whatever they turn out to be."""

import pandas as pd
import pytest

from helpers import claims, effects
from helpers.claims import NO, OPEN, YES
from helpers.inputs import InputError


def effects_table(sharing, auxiliary, interaction, half_width=0.01):
    rows = zip(effects.EFFECTS, (sharing, auxiliary, interaction), strict=True)
    return pd.DataFrame(
        [{"effect": e, "mean": m, "half_width": half_width, "p_holm": 0.001, "rounds": 9} for e, m in rows]
    )


def judged(accuracy, epochs):
    families = ("convnet", "mlp", "conv")
    finals = pd.DataFrame({"model": ["M1", "M2", "M3", "M4"], "test_accuracy": [0.7, 0.8, 0.75, 0.79]})
    found = claims.effect_claims(
        dict.fromkeys(families, accuracy), dict.fromkeys(families, epochs), {"convnet": finals}
    )
    return {claim["claim"]: claim["verdict"] for claim in found}


def test_claims_follow_the_sign_of_the_effects():
    verdicts = judged(effects_table(0.05, -0.05, 0.0), effects_table(-5, 5, 0))
    assert verdicts["convnet: weight sharing raises accuracy"] == YES
    assert verdicts["convnet: the auxiliary loss raises accuracy"] == NO
    assert verdicts["convnet: the two effects add up"] == OPEN
    assert verdicts["mlp: weight sharing shortens training"] == YES
    assert verdicts["mlp: the auxiliary loss lengthens training"] == YES
    assert verdicts["conv: both together bring less than their sum"] == OPEN
    opposite = judged(effects_table(-0.05, 0.05, -0.05), effects_table(5, -5, 0))
    assert opposite["convnet: weight sharing raises accuracy"] == NO
    assert opposite["convnet: the two effects add up"] == NO
    assert opposite["mlp: weight sharing shortens training"] == NO
    assert opposite["conv: both together bring less than their sum"] == YES


def test_the_size_of_the_gain_is_judged_by_its_interval():
    assert judged(effects_table(0.095, 0, 0), effects_table(0, 0, 0))["mlp: sharing gains almost 10 %"] == YES
    assert judged(effects_table(0.03, 0, 0), effects_table(0, 0, 0))["mlp: sharing gains almost 10 %"] == NO


def made_rounds(offset):
    """Two epochs of three rounds of M1 whose every measure is the report's own plus an offset."""
    theirs = claims.reports()["first"]["table_1"]["M1"]
    rows = []
    for r in range(3):
        for epoch in (1, 2):
            row = {"model": "M1", "parameters": theirs["parameters"], "round": r, "epoch": epoch}
            for measure in claims.METRICS:
                row[f"{measure}_training_mode"] = theirs[measure] + (r - 1) * 0.01 + (epoch - 1.5) * 0.1
                row[measure] = theirs[measure] + offset + (r - 1) * 0.01
            rows.append(row)
    return pd.DataFrame(rows)


def test_readings_take_the_last_epoch_or_the_mean_of_all():
    ours = claims.table_one(made_rounds(0.1)).set_index(["reading", "measure"])
    for measure in claims.METRICS:
        assert ours.loc[("as theirs", measure), "ours"] == pytest.approx(
            ours.loc[("as theirs", measure), "theirs"], abs=1e-6
        )
        assert ours.loc[("final", measure), "ours"] == pytest.approx(
            ours.loc[("final", measure), "theirs"] + 0.1, abs=1e-6
        )
    assert ours.deviation.to_numpy() == pytest.approx(0.01, abs=1e-6)


def test_the_nearer_reading_is_judged_number_by_number():
    ours = claims.table_one(made_rounds(0.1))
    assert claims.fit_of_readings(ours, "test_accuracy").idxmin() == "as theirs"
    verdicts = pd.DataFrame(claims.number_claims(ours))
    assert (verdicts[~verdicts.claim.str.contains("Std")].verdict == YES).all()
    assert (verdicts[verdicts.claim.str.contains("Std")].verdict == OPEN).all()


def test_every_model_of_table_one_has_the_five_counts_of_the_text():
    first = claims.reports()["first"]
    assert [row["parameters"] for row in first["table_1"].values()] == [66934, 33504, 66934, 33504, 66344]
    assert len(claims.reports()["contradictions"]) == 7


@pytest.mark.parametrize(("plan", "shown"), [("published", True), ("standard", False), (None, False)])
def test_effects_of_tuned_networks_are_shown_where_the_same_plan_tuned_them(plan, shown):
    def load(name):
        if name != "effects_tuned":
            return pd.DataFrame({"source": ["MNIST"], "plan": ["published"]})
        if not plan:
            raise InputError("output: it is not there.")
        return pd.DataFrame({"source": ["MNIST"], "plan": [plan]})

    assert ("tuned" in claims.family_effects(load)) is shown
