"""The sample scan in Slicer's Sample Data module."""

from pathlib import Path

from BrainCounterfactualCommon.host import resourceFolder

SAMPLE_FILE = "SYNTHETIC_FLAIR_lesion.nii.gz"
SAMPLE_SHA256 = "26de3c66f4deabf62e03cb46c4f757ddb65b49c4d824713812c840983e14115e"


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
