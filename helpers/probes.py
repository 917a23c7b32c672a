"""What a trained network's digits would give under another head: its reading, apart from its comparing."""

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.data import Pairs, in_order
from helpers.models import Network
from helpers.training import predict


def probes(network: Network, pairs: dict[str, Pairs]) -> dict[str, float]:
    """Shares of the test pairs that are answered rightly from what the network reads, without training it anew.

    By its `own answer`; by its `digits, named and compared`; and by linear heads fitted anew to what it says of the
    training pairs (`linear head refitted on logits`, `... on probabilities`).
    """
    train, test = pairs["train"], pairs["test"]
    _, train_digits = predict(network, train.images)
    comparison, digits = predict(network, test.images)
    named = in_order(digits.argmax(dim=2), test.strict) == test.labels
    found = {
        "own answer": (comparison.argmax(dim=1) == test.labels).double().mean().item(),
        "digits, named and compared": named.double().mean().item(),
    }
    for name, form in (("logits", lambda x: x), ("probabilities", lambda x: x.softmax(dim=2))):
        answers = refitted(form(train_digits).flatten(1), train.labels, form(digits).flatten(1))
        found[f"linear head refitted on {name}"] = (answers == test.labels).double().mean().item()
    return found


def refitted(features: Tensor, labels: Tensor, new: Tensor) -> Tensor:
    """Logistic regression on features [B, k] and labels [B]; its answers for `new` [C, k].

    Features are standardised and the weights weakly shrunk, so that separable pairs have a finite solution too.
    """
    mean, deviation = features.mean(dim=0), features.std(dim=0) + 1e-6
    weights = torch.zeros(features.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def scores(x: Tensor) -> Tensor:
        return ((x - mean) / deviation).double() @ weights[1:] + weights[0]

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(scores(features), labels.double()) + 1e-4 * (weights[1:] ** 2).sum()
        value.backward()
        return value

    with torch.inference_mode(False):
        optimizer.step(loss)
    return (scores(new).detach() > 0).long()


def all_pairs(network: Network, test: Pairs) -> float:
    """Share of right answers over all ordered pairs of distinct digits of `test`, for the computed order's head.

    A round's 1,000 pairs are a sample of these; where a network errs seldom, their own noise would rule.
    """
    _, digits = predict(network, test.images)
    read, classes = digits.flatten(0, 1).softmax(dim=1), test.digits.flatten()
    right = 0
    for start in range(0, len(read), 1000):
        answers = read[start : start + 1000] @ network.head.before @ read.T > 0.5
        true = classes[start : start + 1000, None]
        truth = true < classes if test.strict else true <= classes
        right += int((answers == truth).sum()) - int((answers == truth).diagonal(start).sum())
    return right / (len(read) * (len(read) - 1))
