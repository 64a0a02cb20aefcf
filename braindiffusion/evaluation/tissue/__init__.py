"""The hole test: is a healed region told apart from real tissue?

Lesion-shaped holes are laid on lesion-free slices and healed as if they were lesions; the truth is known.
"""
