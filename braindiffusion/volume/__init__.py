"""The scan as slices: geometry, brain, masks, symmetry, the way back."""
