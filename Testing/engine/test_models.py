"""Installed models: checked before they are used, and refused with a cause when they are not what their card says."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from braindiffusion.diffusion.network import build_network
from braindiffusion.errors import BrainDiffusionError, ModelCorruptError, ModelFormatError, ModelNotFoundError
from braindiffusion.models.export import export_model
from braindiffusion.models.registry import (
    add,
    check_weights_file,
    installed,
    load_model,
    parse_card,
    read_card,
    release,
    resource,
    sha256_of,
    update_card,
    user_folder,
    verify,
)

NETWORK = {"class": "Classifier", "args": {"widths": [4, 8]}}
CARD = {"name": "tiny", "network": NETWORK, "modality": ["FLAIR"], "grid": 16}
PATH_TRICKS = [
    "../elsewhere/tiny.safetensors", "/etc/passwd", "sub/../tiny.safetensors", "..", ".", "", "sub/tiny.safetensors",
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_loaded() -> Iterator[None]:
    release()
    yield
    release()


def make(folder: Path, card: dict[str, Any] = CARD, network: dict[str, Any] = NETWORK, seed: int = 0) -> Path:
    """A model of random weights: its card's path."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return export_model(folder, card, build_network(network).state_dict())


@pytest.fixture
def tiny(no_user_models: Path) -> Path:
    """The card of a model that is installed for this user."""
    return make(no_user_models)


def edit(card: Path, **facts: Any) -> Path:
    card.write_text(json.dumps({**json.loads(card.read_text()), **facts}))
    return card


def weights_of(card: Path) -> Path:
    return card.with_suffix(".safetensors")


def with_its_checksum(card: Path) -> Path:
    """A forger's card: the checksum is that of the file as it is now."""
    return edit(card, sha256=sha256_of(weights_of(card)))


# a model as it should be


def test_a_sound_model_verifies(tiny: Path) -> None:
    assert verify("tiny")["name"] == "tiny"


def test_a_sound_model_loads_with_the_weights_it_was_exported_with(tiny: Path) -> None:
    loaded = load_model("tiny").network.state_dict()
    with safe_open(str(weights_of(tiny)), framework="pt") as file:
        assert all(torch.equal(loaded[k], file.get_tensor(k).float()) for k in file.keys())  # noqa: SIM118


def test_a_loaded_model_is_for_inference(tiny: Path) -> None:
    network = load_model("tiny").network
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_a_loaded_model_tells_its_modality(tiny: Path) -> None:
    assert load_model("tiny").modality == ["FLAIR"]


def test_a_model_without_modality_serves_any(no_user_models: Path) -> None:
    make(no_user_models, {"name": "tiny", "network": NETWORK})
    assert load_model("tiny").modality == ["ANY"]


def test_a_model_is_loaded_once(tiny: Path) -> None:
    assert load_model("tiny") is load_model("tiny")


def test_a_released_model_is_loaded_again(tiny: Path) -> None:
    first = load_model("tiny")
    release()
    assert load_model("tiny") is not first


def test_loading_does_not_touch_global_random_state(tiny: Path) -> None:
    before = torch.get_rng_state()
    load_model("tiny")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.weights
@pytest.mark.parametrize("name", sorted(name for name, card in installed().items() if card.parent != user_folder()))
def test_every_shipped_model_is_what_its_card_says(name: str) -> None:
    card = load_model(name).card
    assert card["name"] == name


# weights that are not


def test_one_flipped_bit_is_noticed(tiny: Path) -> None:
    data = bytearray(weights_of(tiny).read_bytes())
    data[-5] ^= 1
    weights_of(tiny).write_bytes(data)
    with pytest.raises(ModelCorruptError, match="corrupted"):
        verify("tiny")


def test_a_flipped_bit_stops_the_loading(tiny: Path) -> None:
    data = bytearray(weights_of(tiny).read_bytes())
    data[-5] ^= 1
    weights_of(tiny).write_bytes(data)
    with pytest.raises(ModelCorruptError):
        load_model("tiny")


@pytest.mark.parametrize("length", [0, 6, 8, 20, -100])
def test_a_truncated_file_is_noticed(tiny: Path, length: int) -> None:
    weights_of(tiny).write_bytes(weights_of(tiny).read_bytes()[:length])
    with pytest.raises(ModelCorruptError):
        verify("tiny")


def test_a_file_cut_short_is_noticed_even_with_its_own_checksum(tiny: Path) -> None:
    weights_of(tiny).write_bytes(weights_of(tiny).read_bytes()[:-100])
    with_its_checksum(tiny)
    with pytest.raises(ModelCorruptError):
        load_model("tiny")


@pytest.mark.parametrize("size", [2**63, 9_000_000, 1, 0])
def test_an_impossible_header_is_noticed(tiny: Path, size: int) -> None:
    weights_of(tiny).write_bytes(size.to_bytes(8, "little") + weights_of(tiny).read_bytes()[8:])
    with_its_checksum(tiny)
    with pytest.raises(ModelCorruptError):
        load_model("tiny")


def test_a_header_of_other_bytes_is_noticed(tiny: Path) -> None:
    weights_of(tiny).write_bytes((64).to_bytes(8, "little") + b"#!/bin/sh" + bytes(200))
    with_its_checksum(tiny)
    with pytest.raises(ModelCorruptError):
        load_model("tiny")


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_and_not_run(tiny: Path, tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "it ran"
    weights_of(tiny).write_bytes(pickle.dumps(Evil(trace), protocol))
    with_its_checksum(tiny)
    with pytest.raises((ModelFormatError, ModelCorruptError)):
        load_model("tiny")
    assert not trace.exists()


@pytest.mark.parametrize("protocol", [2, 4, pickle.HIGHEST_PROTOCOL])
def test_a_refused_pickle_is_called_by_its_name(tiny: Path, protocol: int) -> None:
    weights_of(tiny).write_bytes(pickle.dumps({"weight": list(range(1000))}, protocol))
    with pytest.raises(ModelFormatError, match="pickle"):
        verify("tiny")


def test_a_torch_checkpoint_is_refused(tiny: Path) -> None:
    torch.save({"a": torch.zeros(3)}, weights_of(tiny))
    with_its_checksum(tiny)
    with pytest.raises(ModelFormatError, match="pickle"):
        load_model("tiny")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".pkl"])
def test_the_suffix_of_a_pickle_is_refused(tmp_path: Path, suffix: str) -> None:
    save_file({"a": torch.zeros(3)}, str(tmp_path / f"x{suffix}"))
    with pytest.raises(ModelFormatError):
        check_weights_file(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("low_bytes", [b"\x80", b"PK"])
def test_a_header_length_that_looks_like_a_pickle_is_none(tmp_path: Path, low_bytes: bytes) -> None:
    """Every 32nd safetensors file has a header length whose first byte is 0x80."""
    length = int.from_bytes(low_bytes, "little")
    plain = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(3)}, str(plain))
    data = plain.read_bytes()
    header, rest = data[8 : 8 + int.from_bytes(data[:8], "little")], data[8 + int.from_bytes(data[:8], "little") :]
    plain.write_bytes(length.to_bytes(8, "little") + header.ljust(length) + rest)
    with safe_open(str(plain), framework="pt") as file:
        assert file.get_tensor("a").shape == (3,)
    check_weights_file(plain)


def test_missing_weights_are_noticed(tiny: Path) -> None:
    weights_of(tiny).unlink()
    with pytest.raises(ModelCorruptError, match="missing"):
        load_model("tiny")


@pytest.mark.parametrize(
    "network",
    [
        {"class": "Classifier", "args": {"widths": [4, 12]}},
        {"class": "Classifier", "args": {"widths": [4, 8, 8]}},
        {"class": "Autoencoder", "args": {}},
        {"class": "Classifier", "args": {"depth": 3}},
        {"class": "os.system", "args": {"command": "true"}},
        {"args": {}},
    ],
)
def test_weights_that_do_not_fit_their_card_are_refused(tiny: Path, network: dict) -> None:
    edit(tiny, network=network)
    with pytest.raises(ModelCorruptError):
        load_model("tiny")


@pytest.mark.parametrize("network", ["Classifier", None, ["Classifier"], {"class": "Classifier", "args": [4]}])
def test_a_card_whose_network_is_malformed_is_refused(tiny: Path, network: Any) -> None:
    edit(tiny, network=network)
    with pytest.raises((ModelCorruptError, ModelFormatError)):
        load_model("tiny")


@pytest.mark.parametrize("trick", PATH_TRICKS)
def test_weights_outside_the_models_folder_are_refused(tiny: Path, trick: str) -> None:
    elsewhere = tiny.parent.parent / "elsewhere"
    for folder in (elsewhere, tiny.parent / "sub"):
        folder.mkdir()
        (folder / "tiny.safetensors").write_bytes(weights_of(tiny).read_bytes())
    edit(tiny, weights=trick)
    with pytest.raises(ModelCorruptError):
        load_model("tiny")


# cards


def test_an_unknown_model_is_refused_with_the_names_of_the_known(tiny: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="tiny"):
        read_card("huge")


@pytest.mark.parametrize("text", ["{", "[]", "3", "null", '"text"', "", '{"name": "tiny"}', "\udcff"])
def test_an_unreadable_card_is_refused(tiny: Path, text: str) -> None:
    tiny.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelFormatError):
        parse_card(tiny)


def test_the_users_own_model_goes_before_a_shipped_one(no_user_models: Path) -> None:
    card = make(no_user_models, {**CARD, "name": "brain-mask"})
    assert installed()["brain-mask"] == card


def test_facts_can_be_added_to_a_card(tiny: Path) -> None:
    update_card("tiny", {"note": 0.7})
    assert verify("tiny")["note"] == 0.7
    assert sorted(p.name for p in tiny.parent.iterdir()) == ["tiny.json", "tiny.safetensors"]


def test_a_changed_card_is_read_again(tiny: Path) -> None:
    assert "note" not in load_model("tiny").card
    update_card("tiny", {"note": 0.7})
    os.utime(tiny, (1, 1))  # clocks of file systems may be coarse
    assert load_model("tiny").card["note"] == 0.7


def test_a_missing_resource_names_itself() -> None:
    with pytest.raises(ModelNotFoundError, match="nothing/here"):
        resource("nothing", "here")


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
