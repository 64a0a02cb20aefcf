"""A person's own models: exported, and installed only when all is as the card says."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from model_files import CARD, edit, make, weights_of, with_its_checksum
from safetensors import safe_open

from braindiffusion.cards import installed
from braindiffusion.errors import BrainDiffusionError, ModelCorruptError, ModelFormatError, ModelNotFoundError
from braindiffusion.models.export import export_model
from braindiffusion.models.registry import add, load_model, sha256_of, verify

pytestmark = pytest.mark.usefixtures("nothing_loaded")


# exporting


def test_an_export_is_pinned_by_its_checksum(tmp_path: Path) -> None:
    card = json.loads(make(tmp_path / "new").read_text())
    weights = tmp_path / "new" / card["weights"]
    assert (card["sha256"], card["bytes"]) == (sha256_of(weights), weights.stat().st_size)


def test_an_export_is_stored_in_half_precision(tmp_path: Path) -> None:
    export_model(tmp_path, {"name": "x"}, {"a": torch.rand(3), "n": torch.tensor([7])})
    with safe_open(str(tmp_path / "x.safetensors"), framework="pt") as file:
        assert (file.get_tensor("a").dtype, file.get_tensor("n").dtype) == (torch.float16, torch.int64)


def test_an_export_leaves_nothing_else_behind(tmp_path: Path) -> None:
    make(tmp_path)
    make(tmp_path, seed=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.json", "tiny.safetensors"]


# adding one's own


@pytest.fixture
def offered(tmp_path: Path) -> Path:
    """The card of a model that lies somewhere, not yet installed."""
    return make(tmp_path / "offered")


def test_an_added_model_is_installed(offered: Path, no_user_models: Path) -> None:
    assert add(offered) == "tiny"
    assert installed()["tiny"].parent == no_user_models
    assert load_model("tiny").card["sha256"] == json.loads(offered.read_text())["sha256"]


def test_a_model_can_be_added_again(offered: Path) -> None:
    add(offered)
    make(offered.parent, seed=1)
    add(offered)
    assert verify("tiny")["sha256"] == sha256_of(weights_of(offered))


@pytest.mark.parametrize("damage", ["flip", "cut", "pickle", "gone", "shapes", "card"])
def test_what_is_refused_is_not_installed(offered: Path, no_user_models: Path, damage: str) -> None:
    weights = weights_of(offered)
    data = weights.read_bytes()
    if damage == "flip":
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "cut":
        weights.write_bytes(data[:-10])
    elif damage == "pickle":
        weights.write_bytes(pickle.dumps([1]))
    elif damage == "gone":
        weights.unlink()
    elif damage == "shapes":
        edit(offered, network={"class": "Classifier", "args": {"widths": [4, 4]}})
    else:
        offered.write_text("{")
    with pytest.raises((ModelCorruptError, ModelFormatError)):
        add(offered)
    assert "tiny" not in installed()
    assert not list(no_user_models.glob("*"))


def test_a_model_is_added_by_its_card_not_its_weights(offered: Path) -> None:
    with pytest.raises(ModelFormatError, match="card"):
        add(weights_of(offered))


def test_a_pickle_offered_in_place_of_a_card_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({}, path)
    with pytest.raises(ModelFormatError, match="pickle"):
        add(path)


def test_a_card_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        add(tmp_path / "nowhere.json")


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a/evil"])
def test_a_model_cannot_be_installed_elsewhere(offered: Path, no_user_models: Path, name: str) -> None:
    edit(offered, name=name)
    try:
        add(offered)
    except BrainDiffusionError:
        return
    assert installed()["evil"].parent == no_user_models


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_model_without_a_proper_name_is_refused(offered: Path, name: str) -> None:
    edit(offered, name=name)
    with pytest.raises((ModelCorruptError, ModelFormatError)):
        add(offered)


@pytest.mark.parametrize("trick", ["", ".", "..", "missing.safetensors"])
def test_added_weights_must_be_a_file_beside_the_card(offered: Path, trick: str) -> None:
    edit(offered, weights=trick)
    with pytest.raises((ModelCorruptError, ModelFormatError)):
        add(offered)


@pytest.mark.parametrize("trick", ["../offered/tiny.safetensors", "/etc/tiny.safetensors", "sub/tiny.safetensors"])
def test_what_is_added_can_be_loaded(offered: Path, trick: str) -> None:
    edit(offered, weights=trick)
    try:
        name = add(offered)
    except BrainDiffusionError:
        return
    load_model(name)


def test_adding_a_model_does_not_spoil_another(tmp_path: Path) -> None:
    for seed, name in enumerate(("first", "second")):
        folder = tmp_path / name
        card = make(folder, {**CARD, "name": name}, seed=seed)
        (folder / f"{name}.safetensors").rename(folder / "model.safetensors")
        add(edit(card, weights="model.safetensors"))
    assert verify("second")["name"] == "second"
    assert verify("first")["name"] == "first"


@pytest.mark.parametrize("spoil", ["nan", "inf", "int8", "bool", "complex"])
def test_weights_that_are_not_finite_numbers_are_refused(offered: Path, no_user_models: Path, spoil: str) -> None:
    from safetensors.torch import load_file, save_file

    path = weights_of(offered)
    state = load_file(str(path))
    name = next(k for k, v in state.items() if v.is_floating_point() and v.numel() > 4)
    values = state[name].clone()
    if spoil in ("nan", "inf"):
        values.view(-1)[3] = float(spoil)
    else:
        values = values.to({"int8": torch.int8, "bool": torch.bool, "complex": torch.complex64}[spoil])
    save_file({**state, name: values}, str(path))
    with pytest.raises(ModelCorruptError, match="do not fit their card"):
        add(with_its_checksum(offered))
    assert not list(no_user_models.glob("*"))


@pytest.mark.parametrize(
    "facts",
    ['"gate": {"high": NaN, "low": 0.5}', '"gate": {"high": 1e999, "low": 0.5}', '"data": "BraTS"', '"data": [7]',
     '"licence": 7', '"bytes": "many"', '"evaluation": []', '"known_failures": "none"'],
)  # fmt: skip
def test_a_card_is_checked_when_added_and_when_read(offered: Path, no_user_models: Path, facts: str) -> None:
    whole = offered.read_text().rstrip().removesuffix("}").rstrip()
    offered.write_text(f"{whole}, {facts}}}")
    with pytest.raises(ModelFormatError):
        add(offered)
    no_user_models.mkdir(parents=True, exist_ok=True)
    (no_user_models / "tiny.json").write_text(offered.read_text())
    with pytest.raises(ModelFormatError):
        load_model("tiny")
