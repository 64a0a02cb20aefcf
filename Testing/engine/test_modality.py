"""Real series descriptions and file names, and what they are: one table for reading, modules and viewer."""

from __future__ import annotations

import pytest

from braindiffusion.modality import CONTRASTS, modality_of

KNOWN: dict[str | None, tuple[str, ...]] = {
    "FLAIR": (
        "t2_tirm_tra_dark-fluid", "t2_tirm_dark-fluid", "t2_spc_da-fl_sag_p2_iso", "t2_space_dark-fluid_sag",
        "eT2W_FLAIR", "ax dark fluid", "Ax T2 FLAIR", "Ax T2 FLAIR +C", "FLAIR +C", "SAG CUBE FLAIR", "3D_FLAIR_VISTA",
        "FLAIR_longTR", "oms01_FLAIR.nii.gz", "BraTS_0001-t2f", "FLAIR_in_T1_space", "postop FLAIR",
        "sub-01_ses-2_acq-T1like_FLAIR.nii.gz", "sub-strokecase0001_ses-0001_flair.nii.gz", "Axial Flair Fat Sat",
    ),
    "T1": (
        "T1 without contrast", "T1 W/O", "t1 ohne KM", "T1 pre contrast", "T1 nativ", "3DT1", "sT1W_3D_TFE",
        "Ax T1 FLAIR",
        "t1_mprage_sag_p2_iso", "SAG 3D BRAVO", "Ax FSPGR 3D", "IXI386_T1", "oms01_T1W", "T1_post_processed",
        "T1 postop",
        "T1 post-op", "t1_vibe_fs_tra", "WIP T1W_SE", "t1_se_cor", "sub-01_T1w.nii.gz",
        "sub-01_acq-FLAIRlike_T1w.nii.gz",
        "T1 non contrast", "BraTS_0001-t1n", "MPRAGE_GRAPPA2",
    ),
    "T1GD": (
        "T1 +C", "MPRAGE Gd", "T1_SE_GAD", "T1 FLAIR +C", "t1_mprage_sag KM", "t1_vibe_fs_tra_KM", "Ax T1 POST",
        "t1_mpr_tra post", "x_t1ce", "fg6692_T1Gd_raw", "AX T1 FS POST GAD", "T1 with contrast", "T1 nach KM", "T1+Gd",
        "BRAVO +C", "BraTS_0001-t1c", "sub-01_ce-gadolinium_T1w.nii.gz", "T1W_3D_TFE_CE", "Ax T1 C+",
    ),
    "T2": (
        "m2265_T2w_LIA", "t2_tse_tra_512", "Ax T2 FRFSE", "T2 BLADE", "T2W_TSE", "SAG CUBE T2", "sub-01_T2w.nii",
        "t2_spc_sag_p2_iso", "Ax T2 PROPELLER", "rorden_stroke_T2",
    ),
    "DWI": ("ep2d_diff_b1000", "DWI_b0_b1000", "ep2d_diff_3scan_trace_p2_TRACEW", "Ax DWI", "DTI_32dir",
            "sub-01_dwi.nii"),
    "CT": ("CT head", "NCCT", "CCT nativ", "CT HEAD W/O", "sub-01_ct.nii.gz"),
    "ADC": ("ADC map", "ep2d_diff_3scan_trace_p2_ADC", "Apparent Diffusion Coefficient (mm2/s)", "eADC"),
    "T2*": ("T2*_GRE", "t2_fl2d_tra_hemo", "AX T2 GRE", "T2 star", "T2*W FFE", "sub-01_T2starw.nii.gz"),
    "SWI": ("SWI_Images", "Ax SWAN", "VEN BOLD", "mIP_Images(SWI)"),
    "PD": ("PD TSE", "PDW_SE", "Proton Density", "sub-01_PDw.nii.gz"),
    "TOF": ("TOF_3D_multi-slab", "3D TOF MRA", "MR Angio"),
    "PERFUSION": ("pcasl_4D", "ep2d_perf_p2", "DSC Perfusion", "CT Perfusion", "ASL"),
    "PET": ("FDG PET brain", "PET AC"),
    None: (
        "patient1_subject2", "Brain", "localizer", "PD/T2 dual echo", "STIR cor", "T1 map", "IMPACT", "post", "atlas1",
        "T1 and T2", "T2_in_T1_space", "fact", "st2011", "gadget", "scan",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "contrast"), [(text, contrast) for contrast, texts in KNOWN.items() for text in texts]
)
def test_what_a_description_tells(text: str, contrast: str | None) -> None:
    assert modality_of(text) == contrast
    assert modality_of(text.upper()) == contrast
    assert contrast is None or contrast in CONTRASTS


def test_modules_and_reading_ask_the_same_table() -> None:
    from BrainCounterfactualCommon.worker import models
    from braindiffusion.io import dicom, read

    assert read.modality_of is dicom.modality_of is models.modalityOfText is modality_of


def test_every_contrast_is_told_by_some_text() -> None:
    assert {contrast for contrast in KNOWN if contrast} == set(CONTRASTS)


@pytest.mark.parametrize(
    ("name", "contrast"),
    [
        ("T1_N4_regtoFLAIR.nii.gz", "T1"), ("T2_N4_regtoFLAIR_brain.nii.gz", "T2"), ("T1w_to_FLAIR.nii.gz", "T1"),
        ("T1_N4_regtoFLAIR_noneck_regtoMNI.nii.gz", "T1"), ("FLAIR_regtoT1.nii.gz", "FLAIR"),
        ("FLAIR_to_MNI152", "FLAIR"), ("space-T1w_FLAIR", "FLAIR"), ("regtoFLAIR.nii.gz", None),
        ("T1_TSE_FLAIR.nii.gz", "T1"), ("t2_space_flair_sag", "FLAIR"), ("t1_space_sag", "T1"),
        ("photo_FLAIR", "FLAIR"),
    ],
)  # fmt: skip
def test_onto_what_it_was_registered_is_not_what_it_shows(name: str, contrast: str | None) -> None:
    assert modality_of(name) == contrast
