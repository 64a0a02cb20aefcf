"""Installed models: checked before they are used, and refused with a cause when they are not what their card says."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from model_files import CARD, NETWORK, edit, make, weights_of, with_its_checksum
from safetensors import safe_open
from safetensors.torch import save_file

from braindiffusion.cards import installed, parse_card, read_card, resource, user_folder
from braindiffusion.errors import ModelCorruptError, ModelFormatError, ModelNotFoundError
from braindiffusion.models.registry import build_from_card, check_weights_file, load_model, release, update_card, verify
from braindiffusion.networks.build import NETWORKS, build_network

pytestmark = pytest.mark.usefixtures("nothing_loaded")


PATH_TRICKS = [
    "../elsewhere/tiny.safetensors", "/etc/passwd", "sub/../tiny.safetensors", "..", ".", "", "sub/tiny.safetensors",
]  # fmt: skip


@pytest.fixture
def tiny(no_user_models: Path) -> Path:
    """The card of a model that is installed for this user."""
    return make(no_user_models)


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


SMALL = {
    "PatchedUNet": {
        "channels": [8],
        "attention_levels": [True],
        "num_res_blocks": 1,
        "num_head_channels": 8,
        "norm_num_groups": 2,
    },
    "BrainMaskUNet": {"features": [4] * 6},
    "SliceVQVAE": {"channels": [4, 8], "codes": 4, "latent": 2},
    **{name: {"widths": [8, 8], "latent": 4, "size": [16, 16]} for name in ("AnoGAN", "EncodedGAN")},
    **{name: {"widths": [4, 8]} for name in ("Autoencoder", "Classifier", "NoisedClassifier")},
}


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_loaded_network_is_whole(no_user_models: Path, name: str) -> None:
    """Every weight and buffer has values, of the kind its class gives it (a counter stays whole)."""
    spec = {"class": name, "args": SMALL[name]}
    make(no_user_models, {**CARD, "network": spec}, spec)
    built, loaded = build_network(spec), load_model("tiny").network
    for find in (torch.nn.Module.named_parameters, torch.nn.Module.named_buffers):
        assert {k: (v.dtype, v.shape, v.device) for k, v in find(loaded)} == {
            k: (v.dtype, v.shape, v.device) for k, v in find(built)
        }


def test_a_loaded_network_does_not_change_with_its_file(tmp_path: Path) -> None:
    """Weights of full precision need no conversion, and still become the network's own."""
    card = make(tmp_path)
    state = build_network(NETWORK).state_dict()
    save_file(state, str(weights_of(card)))
    network = build_from_card(CARD, weights_of(card))
    with weights_of(card).open("r+b") as file:
        file.seek(-16, os.SEEK_END)
        file.write(bytes(16))
    loaded = network.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in state.items())


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
