"""Counterfactual brain scans: remove a lesion and show what changed.

Research use only, never diagnosis. Importing this package does no work and does not import torch.
"""

__version__ = "0.1.0"

NOT_FOR_DIAGNOSIS = "SYNTHETIC - NOT FOR DIAGNOSIS"
RESEARCH_USE_ONLY = "Research use only. Not a medical device; never use for diagnosis or treatment."
