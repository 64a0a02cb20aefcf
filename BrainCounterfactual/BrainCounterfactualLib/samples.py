"""The sample scan in Slicer's Sample Data module."""

from pathlib import Path

from BrainCounterfactualCommon.host import resourceFolder

SAMPLE_FILE = "SYNTHETIC_FLAIR_lesion.nii.gz"
SAMPLE_SHA256 = "3f1642304894895bb403218ef79bc346e27eca9c8e5f5e48871ca70f767b7593"


def registerSampleData():
    """Offer the sample scan (itself synthetic). It ships with the extension, so nothing is downloaded."""
    import SampleData

    icons = Path(__file__).resolve().parent.parent / "Resources" / "Icons"
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="BrainCounterfactual",
        sampleName="SyntheticFLAIRLesion",
        thumbnailFileName=str(icons / "BrainCounterfactualSample.png"),
        uris=(resourceFolder("Samples") / SAMPLE_FILE).as_uri(),
        fileNames=SAMPLE_FILE,
        checksums="SHA256:" + SAMPLE_SHA256,
        nodeNames="SYNTHETIC FLAIR lesion",
    )
