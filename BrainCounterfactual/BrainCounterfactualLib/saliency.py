"""Where the classifier looks, as a volume in the scene; a scan has one at a time."""

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.scene import overlays, volumes
from BrainCounterfactualCommon.scene.results import Made, makeSliceTable

REFERENCE = "BrainCounterfactual.saliency"


class Saliency(Made):
    """A view of a saliency map: ``saliencyNode`` (float32 volume, 0..1) and ``tableNode`` (one row per slice)."""

    prefix = "BrainCounterfactual."
    roles = ("table",)

    saliencyNode = property(lambda self: self.node)


def make(volumeNode, arrays, data):
    """The saliency of a scan as a volume and a table; an earlier one of the same scan is replaced."""
    previous = of(volumeNode)
    if previous is not None:
        previous.remove()
    name = volumeNode.GetName()
    node = volumes.addVolume(
        arrays["saliency"].transpose().astype("float32"), volumeNode, "{} ({})".format(_("Saliency"), name)
    )
    overlays.style(node, overlays.HEAT, 0.0, 1.0, threshold=0.05)
    made = Saliency(node)
    table = makeSliceTable(volumeNode, data, "{} ({})".format(_("Slice probabilities"), name))
    made.record({"table": table}, volumeNode, data)
    volumeNode.SetNodeReferenceID(REFERENCE, node.GetID())
    for other in made.nodes():
        volumes.putBeside(other, volumeNode)
    return made


def of(volumeNode):
    """The saliency last computed for a scan, or ``None``."""
    node = volumeNode.GetNodeReference(REFERENCE)
    return Saliency(node) if node is not None else None
