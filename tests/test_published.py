"""The committed results: found by name, written again by nothing but their own plan, trained again to the same bits."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from helpers import experiments, published, runs, training
from helpers.architectures import read_models
from helpers.inputs import InputError

TINY = {"layers": [{"linear": 10}], "recipe": {"optimizer": "adam", "learning_rate": 0.003, "epochs": 2}}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder of published tables of this test's own."""
    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setattr(experiments, "PUBLISHED", folder)
    experiments.published.cache_clear()
    yield folder
    experiments.published.cache_clear()


def publish(table, folder, name="ablation_own", plan="published"):
    table.assign(source="made", plan=plan).to_csv(folder / f"{name}.csv", index=False)
    experiments.published.cache_clear()


def count_trainings(monkeypatch):
    trained, real = [], experiments.train_run  # which no canary calls
    monkeypatch.setattr(experiments, "train_run", lambda *a, **k: trained.append(1) or real(*a, **k))
    return trained


def test_what_was_published_is_not_trained_again(setting, results, monkeypatch, tmp_path, capsys):
    models = read_models(TINY)
    table = experiments.run_rounds(models, setting)
    publish(table[table.model != "both"], results)
    monkeypatch.setenv(runs.STORE_VARIABLE, str(tmp_path / "empty"))
    trainings = count_trainings(monkeypatch)
    again = experiments.run_rounds(models, setting)
    assert again.to_csv() == table.to_csv()
    assert len(trainings) == 2
    assert "6 runs published, 0 stored, 2 trained now" in capsys.readouterr().err
    list(experiments.trained(models[:1], setting))
    assert len(trainings) == 4  # weights are in no table


def loss_of(network, pairs):
    return {"loss": training.evaluate(network, pairs["test"])["loss"]}


def pairs_of(network, pairs):
    return pd.DataFrame({"pair": range(3), "right": [True, False, True]})


def test_what_was_published_of_a_trained_network_needs_no_training(setting, results, monkeypatch, tmp_path):
    models = read_models(TINY)[:2]
    table = experiments.measured("losses", models, setting, loss_of)
    expected = [training.evaluate(n, p["test"])["loss"] for n, p in experiments.trained(models, setting)]
    assert table.loss.tolist() == pytest.approx(expected, abs=1e-6)
    rows = experiments.measured("pairs", models, setting, pairs_of)
    table.assign(source="made", plan="published").to_csv(results / "losses.csv", index=False)
    rows.to_csv(results / "pairs.csv", index=False)
    monkeypatch.setenv(runs.STORE_VARIABLE, str(tmp_path / "empty"))
    trainings = count_trainings(monkeypatch)
    assert experiments.measured("losses", models, setting, loss_of).to_csv() == table.to_csv()
    assert experiments.measured("pairs", models, setting, pairs_of).to_csv() == rows.to_csv()
    assert not trainings
    more = experiments.measured("losses", models, replace(setting, rounds=3), loss_of)
    assert len(trainings) == 2  # the third round of both
    assert more[more["round"] < 2].reset_index(drop=True).equals(table)


def test_another_measure_is_not_given_what_was_published(setting, results, monkeypatch):
    models = read_models(TINY)[:1]
    table = experiments.measured("losses", models, setting, loss_of)
    table.assign(loss=9.0).to_csv(results / "losses.csv", index=False)
    assert (experiments.measured("losses", models, setting, loss_of).loss == 9).all()
    # The same measure, which now uses another function, is another.
    assert experiments.measured("losses", models, setting, loss_of, pairs_of).loss.tolist() == table.loss.tolist()


def test_a_table_of_some_epochs_serves_no_run(setting, results, monkeypatch, tmp_path):
    table = experiments.run_rounds(read_models(TINY)[:1], setting)
    publish(table[table.epoch == 2], results)
    monkeypatch.setenv(runs.STORE_VARIABLE, str(tmp_path / "empty"))
    trainings = count_trainings(monkeypatch)
    assert experiments.run_rounds(read_models(TINY)[:1], setting).to_csv() == table.to_csv()
    assert len(trainings) == 2


def test_a_run_that_a_table_has_under_two_names_serves_both(setting, results, monkeypatch, tmp_path):
    table = experiments.run_rounds(read_models(TINY)[:1], setting)
    publish(pd.concat([table, table.assign(model="another name")]), results)
    monkeypatch.setenv(runs.STORE_VARIABLE, str(tmp_path / "empty"))
    trainings = count_trainings(monkeypatch)
    assert experiments.run_rounds(read_models(TINY)[:1], setting).to_csv() == table.to_csv()
    assert not trainings


def test_every_committed_run_has_all_its_epochs_so_that_nobody_trains_it_again():
    described = published._published_runs()
    for name, rows in experiments.published().items():
        measured = published._model_of(described[name]).recipe.epochs_measured()
        assert rows.epoch.tolist() == measured, f"{name}: {published.kind_of(described[name])}"


def test_published_runs_come_out_the_same_and_planted_differences_are_found(setting, results, monkeypatch, capsys):
    models = read_models(TINY)[:2]
    table = experiments.run_rounds(models, setting)
    described = [runs.Run(m, 0, r).description(setting.digits, "cpu") for m in models for r in (0, 1)]
    lines = [
        {k: v for k, v in one.items() if k not in published.OWN} | {"runs": {name: [one[k] for k in published.OWN]}}
        for one, name in zip(described, table.run.unique(), strict=True)
    ]
    (experiments.PUBLISHED / published.RUNS).write_text("\n".join(map(json.dumps, lines)))
    publish(table, results)
    monkeypatch.setattr(experiments, "setting", lambda: setting)
    assert published.verify(4)
    assert (
        "4 of 4 published runs came out the same. The 4 published runs were trained by the code"
        in capsys.readouterr().out
    )
    assert published.kind_of(described[0]) != published.kind_of(
        described[0] | {"recipe": {"optimizer": "sgd", "epochs": 2}}
    )
    assert published.verify(1)
    publish(table.assign(test_accuracy=table.test_accuracy + 0.001), results)
    assert not published.verify(4)
    assert "0 of 4 published runs came out the same" in capsys.readouterr().out


@pytest.mark.parametrize("planted", [{"plan": "by hand"}, {"source": "made digits"}])
def test_the_readme_takes_tables_of_one_plan_only(results, planted):
    table = pd.DataFrame({"model": ["M6"], "sentence": ["M6 is best."], "source": "MNIST", "plan": "published"})
    for name in ("results_table", "answer", "m6"):
        table.to_csv(results / f"{name}.csv", index=False)
    assert published.answer().startswith("- M6 is best.")
    table.assign(**planted).to_csv(results / "m6.csv", index=False)
    with pytest.raises(InputError, match=r"m6.csv is of plan .*; allowed is plan published on MNIST"):
        published.answer()


def test_without_results_the_readme_and_verify_say_so(results):
    assert "No results are published" in published.answer()
    assert "No runs are published" in published.state()
    with pytest.raises(InputError, match="No runs are published"):
        published.verify()


def test_a_finished_chapters_tables_join_the_committed_ones(setting, results, tmp_path, monkeypatch, capsys):
    models, finished = read_models(TINY), tmp_path / "tables"
    finished.mkdir()
    publish(experiments.run_rounds(models[:1], setting), finished, "one")
    published.add(finished)
    before = (results / "one.csv").read_bytes()
    (finished / "one.csv").unlink()
    publish(experiments.run_rounds(models[1:2], setting), finished, "two")
    published.add(finished)
    monkeypatch.setenv(runs.STORE_VARIABLE, str(tmp_path / "empty"))  # what was described needs no store
    published.add(finished)
    assert (results / "one.csv").read_bytes() == before
    assert {path.name for path in results.iterdir()} == {"one.csv", "two.csv", published.RUNS}
    described = published._published_runs()
    assert set(described) == set(experiments.published())
    assert {repr(published._model_of(run).recipe) for run in described.values()} == {
        repr(model.recipe) for model in models[:2]
    }
    assert "The 4 published runs were trained by the code at hand." in capsys.readouterr().out
    publish(experiments.run_rounds(models[2:3], setting).assign(run="0" * experiments.SHORT), finished, "three")
    with pytest.raises(InputError, match="1 of its runs"):
        published.add(finished)
    assert not (results / "three.csv").exists()
    with pytest.raises(InputError, match="allowed is one with tables"):
        published.add(tmp_path)
