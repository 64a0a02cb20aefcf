"""The module's parts. In Slicer all packages lie beside the modules; in the source tree they are found from here."""

import sys
from pathlib import Path

_above = Path(__file__).resolve().parent.parent.parent
if (_above / "BrainCounterfactualCommon").is_dir() and str(_above) not in sys.path:
    sys.path.append(str(_above))
