"""Results live in the scene: a volume that refers to everything made with it, and to its scan.

Nothing is kept outside of MRML, so results, their order and the one in view survive saving, closing and loading.
"""

import json

import slicer

from BrainCounterfactualCommon.host import tr as _
from BrainCounterfactualCommon.scene import volumes

PREFIX = "SYNTHETIC "
SYNTHETIC = "BrainCounterfactual.Synthetic"
PROVENANCE = "BrainCounterfactual.Provenance"
SCAN = "BrainCounterfactual.scan"


class Made:
    """A view of a volume that was made from a scan, and of what came with it.

    A subclass says what begins the names of its own attributes and references (``prefix``), and as what the main node
    refers to the others (``roles``).
    """

    prefix = ""
    roles: "tuple[str, ...]" = ()

    def __init__(self, node):
        self.node = node

    def _referred(self, role):
        return self.node.GetNodeReference(self.prefix + role)

    def _told(self, name, empty="{}"):
        return json.loads(self.node.GetAttribute(self.prefix + name) or empty)

    def tell(self, name, told):
        """Write down something that JSON can hold, as the attribute ``name``."""
        self.node.SetAttribute(self.prefix + name, json.dumps(told))

    volumeNode = property(lambda self: self.node.GetNodeReference(SCAN))
    tableNode = property(lambda self: self._referred("table"))

    @property
    def provenance(self):
        """How it was made, as the engine recorded it."""
        return json.loads(self.node.GetAttribute(PROVENANCE) or "{}")

    @property
    def summary(self):
        """``lesion_ml, seconds, slices_healed, check, device, warnings``."""
        return self._told("Summary")

    @property
    def slices(self):
        """One dict per slice: ``index`` (along the axial voxel axis), ``lesion_probability``, ``lesion_mm2`` ..."""
        return self._told("Slices", "[]")

    @property
    def warnings(self):
        return self.summary.get("warnings", [])

    def nodes(self):
        """All its nodes that are in the scene, the main one first."""
        found = [self.node] + [self._referred(role) for role in self.roles]
        return [node for node in found if node is not None]

    def __eq__(self, other):
        return type(other) is type(self) and other.node is self.node

    def __hash__(self):
        return hash(self.node.GetID())

    def record(self, others, volumeNode, data, provenance=None):
        """Tie the nodes together, mark them as synthetic, and write down how they were made.

        Args:
            others: role -> node.
            data: what the worker told.
            provenance: as the worker told it, unless given.
        """
        provenance = data.get("provenance", {}) if provenance is None else provenance
        self.tell("Slices", nativeRows(volumeNode, data.get("slices", [])))
        self.tell("Summary", summaryOf(data))
        for role, other in others.items():
            self.node.SetNodeReferenceID(self.prefix + role, other.GetID())
        for other in (self.node, *others.values()):
            other.SetAttribute(SYNTHETIC, "1")
            other.SetAttribute(PROVENANCE, json.dumps(provenance))
            other.SetNodeReferenceID(SCAN, volumeNode.GetID())

    def remove(self):
        """Take its nodes out of the scene, and their folder where nothing is left in it."""
        hierarchy = volumes.hierarchy()
        folder = hierarchy.GetItemParent(volumes.itemOf(self.node))
        for node in reversed(self.nodes()):
            volumes.removeNode(node)
        own = folder and hierarchy.GetItemName(folder).startswith(PREFIX)
        if own and not hierarchy.GetNumberOfItemChildren(folder):
            hierarchy.RemoveItem(folder)


class Result(Made):
    """One of several results of a scan, which are numbered; one of them, or the scan as it is, is in view.

    A subclass also names the scan's attribute that says which one is in view (``chosen``), the worker's request it
    comes from (``task``), and what is put before its number in file names (``kind``).
    """

    chosen = ""
    task = ""
    kind = ""

    @property
    def order(self):
        """Number of the result, counted from 1 in the order of making."""
        return int(self.node.GetAttribute(self.prefix + "Order") or 0)

    def arrays(self):
        """``(role, (k,j,i) array)`` of everything to be saved."""
        raise NotImplementedError

    def exported(self):
        """role -> (k,j,i) array of what the worker wants for DICOM and teaching files."""
        return dict(self.arrays())

    def facts(self):
        """name -> anything JSON can hold, saved beside the provenance."""
        return {}

    # --- the results of a scan ---

    @classmethod
    def of(cls, volumeNode):
        """All results of a scan, in the order of making."""
        found = [
            cls(node)
            for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            if node.GetAttribute(cls.prefix + "Order") is not None and node.GetNodeReference(SCAN) is volumeNode
        ]
        return sorted(found, key=lambda result: result.order)

    @classmethod
    def current(cls, volumeNode):
        """The result in view, ``None`` for the scan as it is."""
        order = int(volumeNode.GetAttribute(cls.chosen) or 0)
        return next((result for result in cls.of(volumeNode) if result.order == order), None)

    @classmethod
    def setCurrent(cls, volumeNode, result):
        """Which result of a scan is in view; ``None`` for the scan as it is."""
        volumeNode.SetAttribute(cls.chosen, str(result.order if result is not None else 0))

    @classmethod
    def canStep(cls, volumeNode, by):
        """Whether there is a result to go to."""
        line = [None, *cls.of(volumeNode)]
        return 0 <= line.index(cls.current(volumeNode)) + by < len(line)

    @classmethod
    def step(cls, volumeNode, by):
        """Go back (-1) or on (+1) as far as there are results; the one now in view, ``None`` for the scan as it is."""
        line = [None, *cls.of(volumeNode)]
        at = line.index(cls.current(volumeNode)) + by
        result = line[min(max(at, 0), len(line) - 1)]
        cls.setCurrent(volumeNode, result)
        return result

    @classmethod
    def nextLabel(cls, volumeNode):
        """``(number, label)`` of a result to come."""
        order = 1 + max([result.order for result in cls.of(volumeNode)], default=0)
        return order, _("{name} ({order})").format(name=volumeNode.GetName(), order=order)

    def enter(self, others, volumeNode, data, order, label, provenance=None):
        """Put a new result, recorded as :meth:`record` says, into a folder beside its scan and into view."""
        self.node.SetAttribute(self.prefix + "Order", str(order))
        self.record(others, volumeNode, data, provenance)
        volumes.putInStudy(self.nodes(), volumeNode, PREFIX + label)
        self.setCurrent(volumeNode, self)

    def remove(self):
        """Take it out of the scene; the one before it comes into view."""
        volumeNode = self.volumeNode
        if volumeNode is not None and self.current(volumeNode) == self:
            self.step(volumeNode, -1)
        Made.remove(self)


def isSynthetic(node):
    """Whether a node was made by this program."""
    return node is not None and node.GetAttribute(SYNTHETIC) is not None


def nameOf(what, order, volumeNode):
    """The name of a node that was made: short, what differs first; with the scan's where that of another is taken."""
    name = _("{what} {order} (SYNTHETIC)").format(what=what, order=order)
    if slicer.mrmlScene.GetFirstNodeByName(name) is None:
        return name
    return _("{what} {order} of {scan} (SYNTHETIC)").format(what=what, order=order, scan=volumeNode.GetName())


def summaryOf(data):
    """The few facts shown beside a result."""
    provenance = data.get("provenance", {})
    calls = provenance.get("network_calls", {})
    return {
        "lesion_ml": data.get("lesion_ml", provenance.get("lesion_ml")),
        "seconds": data.get("seconds", provenance.get("seconds")),
        "slices_healed": calls.get("slices_healed"),
        "check": provenance.get("check", {}),
        "device": provenance.get("device"),
        "warnings": list(data.get("warnings", [])),
    }


def nativeRows(volumeNode, rows):
    """The engine's slice rows with ``index`` (along the axial voxel axis) and ``position_mm`` (superior) added."""
    out = []
    for row in rows:
        index = volumes.stackIndex(volumeNode, row["slice"])
        position = float(volumes.sliceCenter(volumeNode, index)[2])
        out.append(dict(row, index=index, position_mm=round(position, 2)))
    return out


def makeTable(columns, rows, name):
    """A table node of texts, for the Tables module and for saving; rows in the order of the columns, ``None`` empty."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    for column in columns:
        node.AddColumn().SetName(column)
    for row in rows:
        at = node.AddEmptyRow()
        for n, value in enumerate(row):
            node.SetCellText(at, n, "" if value is None else str(value))
    return node


def makeSliceTable(volumeNode, data, name):
    """A table node of what the worker told of each slice; columns that no slice has are left out."""
    rows = nativeRows(volumeNode, data.get("slices", []))
    known = ("index", "position_mm", "lesion_probability", "judged_lesion", "mask_mm2", "lesion_mm2")
    columns = [column for column in known if any(column in row for row in rows)]
    return makeTable(columns, [[row.get(column) for column in columns] for row in rows], name)
