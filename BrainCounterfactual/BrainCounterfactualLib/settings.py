"""The settings of a healing from what the panel shows."""


def settingsOf(parameters):
    """Settings from the module's parameter node."""
    level = parameters.noiseLevel if parameters.noiseLevel > 0 else None
    return {
        "method": parameters.method,
        "model": parameters.modelName or None,
        "saliency": parameters.saliencyMethod,
        "fusion": parameters.fusion,
        "noise_level": level,
        "steps": min(parameters.steps, level or parameters.steps),
        "percentile": None if parameters.percentile < 0 else parameters.percentile,
        "mask_rule": parameters.maskRule or None,
        "margin_mm": None if parameters.marginMm < 0 else parameters.marginMm,
        "seam": parameters.seam or None,
        "samples": parameters.samples,
        "seed": parameters.seed,
        "device": parameters.device,
        "force": parameters.force,
    }
