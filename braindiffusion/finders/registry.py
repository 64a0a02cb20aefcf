"""Finders by name: where the lesion is sought. One file and one line per finder."""

from __future__ import annotations

from collections.abc import Callable

from braindiffusion.finders.contract import Finder
from braindiffusion.finders.maps import MAPS, Map, find_by_map
from braindiffusion.finders.segmenter import find_by_segmenter, region_of_segmenter
from braindiffusion.registries import FINDERS as METHODS


def finder(name: str, label: str = "") -> Callable[[Map], Map]:
    """Register a saliency map ``(x, models, on_share) -> (N,1,H,W)`` as a finder; see docs/adding_a_method.md.

    What does not ask the classifier is a :class:`~braindiffusion.finders.contract.Finder` of its own:
    ``METHODS.add(name, Finder(...))``.

    Raises:
        PluginError: the name is taken.
    """

    def register(function: Map) -> Map:
        METHODS.add(name, Finder(find_by_map, label or name))
        MAPS[name] = function
        return function

    return register


METHODS.update({
    "acat": Finder(find_by_map, "ACAT"),
    "latent_shift": Finder(find_by_map, "Latent shift"),
    "gradient": Finder(find_by_map, "Gradient"),
    "integrated": Finder(find_by_map, "Integrated gradients"),
    "gradcam": Finder(find_by_map, "Grad-CAM"),
    "segmenter": Finder(find_by_segmenter, "Segmenter (pseudo-labels)", region_of_segmenter),
    "supervised": Finder(find_by_segmenter, "Segmenter (drawn masks)", region_of_segmenter),
})  # fmt: skip
