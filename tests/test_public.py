"""The public solutions of the exercise: their networks can be built and trained, and have the sizes that are known."""

import pytest
import torch
from conftest import shipped

from helpers.architectures import read_models
from helpers.models import build, count_parameters
from helpers.questions import ask
from helpers.training import loss_of

KNOWN = {  # parameters, where the solutions' own reports or sources count them
    ("Bohan7", "v1"): 46_033,
    ("Gianniii", "SIAMESE_CNN_AUX"): 36_660,
    ("Nina-Mainusch", "ConvSiameseNetClasses"): 30_006 + 48,  # which leaves out two batch normalizations
    ("Nina-Mainusch", "ConvSiameseResNet"): 41_590,
    ("dcoukos", "without sharing"): 210_030,
    ("sducouedic", "CNN_Aux"): 66_448,
}
SOLUTIONS = [path.stem for path in shipped("notebooks/architectures/public", "*.yaml")]


@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_public_solution_can_be_trained_and_has_its_size(name):
    models = {model.name: model for model in read_models(f"public/{name}")}
    assert {known for solution, known in KNOWN if solution == name} <= set(models)
    for model in models.values():
        network, recipe = build(model.architecture), model.recipe
        assert count_parameters(network) == KNOWN.get((name, model.name), count_parameters(network)), model.name
        classes = torch.randint(10, (6, 2))
        labels = ask(model.architecture.question).labels(classes)
        loss_of(recipe, recipe.epochs, *network(torch.randn(6, 2, 14, 14)), labels, classes).backward()
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        assert gradients, model.name
        assert all(torch.isfinite(gradient).all() for gradient in gradients), model.name
