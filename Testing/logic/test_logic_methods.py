"""Healing methods as the module's logic offers them: those the worker tells of, each with its models."""

import numpy as np
import pytest
from logic_fake_client import methodsTold
from logic_helpers import makeVolume

from BrainCounterfactualCommon.host import Problem


def test_methods_are_those_the_worker_tells(logic, head):
    assert [method["name"] for method in logic.methods()] == ["dif_fuse"]  # it has not told yet
    logic.client.info = {"methods": methodsTold()}
    assert [method["name"] for method in logic.methods()] == ["dif_fuse", "ddpm", "swift", "latent"]
    assert [card["name"] for card in logic.modelsFor(head)] == ["flair-healthy-128", "tissue-256"]
    assert [card["name"] for card in logic.modelsFor(head, "swift")] == ["brain-mask"]
    assert logic.modelsFor(head, "latent") == logic.modelsFor(head, "unheard of") == []
    logic.setModality(head, "T1")
    assert logic.modelsFor(head)[0]["name"] == "tissue-256"


def test_a_method_goes_to_the_worker_with_its_own_model(logic, head):
    logic.client.info = {"methods": methodsTold()}
    logic.heal(head, {"method": "swift"})
    sent = logic.client.last.payload["settings"]
    assert (sent["method"], sent["model"], sent["noise_level"]) == ("swift", None, None)


def test_the_modality_is_checked_with_the_methods_own_model(logic, core):
    node = makeVolume(np.ones((4, 5, 6), np.int16), np.eye(4), "T1w")
    logic.client.info = {"methods": methodsTold()}
    with pytest.raises(Problem, match="'flair-healthy-128' was trained on FLAIR") as caught:
        logic.heal(node, {"method": "ddpm"})
    assert "tissue-256" in caught.value.action
    logic.heal(node, {"method": "swift"})  # its model is for any
    assert logic.busy


def test_a_method_without_its_model_is_refused_with_the_reason(logic, head):
    logic.client.info = {"methods": methodsTold()}
    with pytest.raises(Problem, match="recipe flair-latent-healthy is not installed") as caught:
        logic.heal(head, {"method": "latent"})
    assert caught.value.className == "ModelNotFoundError"
    assert not logic.client.jobs
