"""The module's parts. It shares masks, jobs, models and healing with BrainCounterfactual.

In Slicer all packages lie beside the modules; in the source tree they are found from here.
"""

import sys
from pathlib import Path

_above = Path(__file__).resolve().parent.parent.parent
for _folder in (_above, _above / "BrainCounterfactual"):
    _found = any((_folder / name).is_dir() for name in ("BrainCounterfactualCommon", "BrainCounterfactualLib"))
    if _found and str(_folder) not in sys.path:
        sys.path.append(str(_folder))
