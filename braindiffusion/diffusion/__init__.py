"""Diffusion core: schedule, steps, spacing and the network's noise prediction."""
