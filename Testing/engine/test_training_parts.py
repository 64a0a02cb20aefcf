"""What the training loop is made of: the order of the data, the learning rate, the average, recipes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_training import recipe
from torch import nn

from braindiffusion.errors import RecipeError
from braindiffusion.training.loop import RECIPES, batch_indices, learning_rate, load_recipe, shuffled, update_ema

# the order of the data


@given(st.integers(1, 50), st.integers(1, 12), st.integers(1, 4), st.integers(0, 5))
def test_an_epoch_shows_every_slice_once(n: int, batch: int, world: int, seed: int) -> None:
    shown = [
        index
        for iteration in range(3 * n // (batch * world) + 2)
        for rank in range(world)
        for index in batch_indices(n, batch, iteration, seed, rank, world)
    ]
    for epoch in range(3):
        assert sorted(shown[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_every_batch_is_full() -> None:
    assert {len(batch_indices(5, 8, i, 0, 0, 1)) for i in range(9)} == {8}


def test_epochs_are_shuffled_differently() -> None:
    first, second = batch_indices(100, 100, 0, 0, 0, 1), batch_indices(100, 100, 1, 0, 0, 1)
    assert first.tolist() != list(range(100))
    assert first.tolist() != second.tolist()


def test_a_batch_is_a_function_of_its_iteration() -> None:
    np.testing.assert_array_equal(batch_indices(50, 8, 17, 3, 1, 2), batch_indices(50, 8, 17, 3, 1, 2))


def test_processes_see_different_slices() -> None:
    a, b = (set(batch_indices(100, 8, 5, 0, rank, 2).tolist()) for rank in range(2))
    assert not a & b


# learning rate and average

SPEC = {"lr": 0.01, "warmup": 10, "decay_to": 0.1}


def test_the_learning_rate_warms_up_in_a_line() -> None:
    rates = [learning_rate(i, {"lr": 0.01, "warmup": 10}, 1000) for i in range(12)]
    np.testing.assert_allclose(rates, [0.001 * min(10, i + 1) for i in range(12)])


def test_the_learning_rate_falls_on_a_cosine_to_its_floor() -> None:
    assert learning_rate(500, SPEC, 1000) == pytest.approx(0.01 * 0.55)
    assert learning_rate(1000, SPEC, 1000) == pytest.approx(0.001)
    assert learning_rate(5000, SPEC, 1000) == pytest.approx(0.001)


def test_without_decay_the_learning_rate_stays() -> None:
    assert learning_rate(999, {"lr": 0.01}, 1000) == 0.01


def test_the_average_follows_its_decay() -> None:
    ema, network = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(ema.weight, 1.0)
    nn.init.constant_(network.weight, 2.0)
    update_ema(ema, network, 0.9, iteration=10**6)
    assert ema.weight.item() == pytest.approx(1.1)


def test_the_average_forgets_the_first_weights_quickly() -> None:
    ema, network = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(ema.weight, 1.0)
    nn.init.constant_(network.weight, 2.0)
    update_ema(ema, network, 0.9999, iteration=0)
    assert ema.weight.item() == pytest.approx(1.9)


def test_statistics_of_a_network_are_copied_not_averaged() -> None:
    ema, network = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    network(torch.rand(8, 3))
    update_ema(ema, network, 0.9, 5)
    assert torch.equal(ema.running_mean, network.running_mean)


def test_shuffling_keeps_image_and_label_together() -> None:
    numbers = torch.arange(20)
    mixed = shuffled({"image": numbers, "label": numbers * 10})
    assert torch.equal(mixed["label"], mixed["image"] * 10)
    assert sorted(mixed["image"].tolist()) == numbers.tolist() != mixed["image"].tolist()


# recipes


@pytest.mark.parametrize("name", sorted(p.stem for p in RECIPES.glob("*.json")))
def test_every_shipped_recipe_can_be_read_by_its_name(name: str) -> None:
    assert load_recipe(name)["name"] == name


def test_an_unknown_recipe_is_refused_with_the_known() -> None:
    with pytest.raises(RecipeError, match="flair-healthy-128"):
        load_recipe("flair-unhealthy")


@pytest.mark.parametrize("missing", ["name", "task", "data", "network", "optimiser", "batch", "iterations"])
def test_an_incomplete_recipe_is_refused_by_what_it_lacks(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({k: v for k, v in recipe().items() if k != missing}))
    with pytest.raises(RecipeError, match=missing):
        load_recipe(str(path))


@pytest.mark.parametrize("text", ["{", "[]", json.dumps(recipe(task="denoiser") | {"task": "juggling"})])
def test_a_malformed_recipe_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(RecipeError):
        load_recipe(str(path))
