"""The module's parts. The shared package lies beside this module in Slicer, one level up in the source tree."""

import sys
from pathlib import Path

_above = Path(__file__).resolve().parent.parent.parent
if (_above / "BrainCounterfactualCommon").is_dir() and str(_above) not in sys.path:
    sys.path.append(str(_above))
