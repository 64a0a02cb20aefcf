"""What a scan shows, read from its name or its series description: one table, without torch.

Reading, modules and viewer all ask :func:`modality_of`. Where the text does not say, the answer is ``None`` and the
user is asked; a contrast that no model here knows is named all the same, so that it can be refused by its name.
"""

from __future__ import annotations

import re

MODALITIES = ("FLAIR", "T1", "T1GD", "T2", "DWI", "CT")
"""What a model may be trained on."""
OTHER_CONTRASTS = ("T2*", "SWI", "ADC", "PD", "TOF", "PERFUSION", "PET")
"""Contrasts that are recognised, so that they are not taken for one of ``MODALITIES``."""
CONTRASTS = (*MODALITIES, *OTHER_CONTRASTS)

BIDS_SUFFIXES = {
    "flair": "FLAIR", "t1w": "T1", "t2w": "T2", "dwi": "DWI", "ct": "CT", "t2star": "T2*", "t2starw": "T2*",
    "swi": "SWI", "adc": "ADC", "pdw": "PD", "angio": "TOF", "asl": "PERFUSION", "perf": "PERFUSION",
    "bold": "PERFUSION", "pet": "PET",
}  # fmt: skip
_BIDS = re.compile(r"^sub-[a-z0-9]+(?P<entities>(?:_[a-z0-9]+-[a-z0-9+]+)*)_(?P<suffix>[a-z0-9]+)(?:\.|$)", re.I)

_T1 = r"(?<![a-z0-9])(?:[23]d|[cdesw])?t1(?:w|wi|n|c|ce|gd|post|se|tse|vibe|mpr|mprage)?(?![a-z0-9])"
_T2 = r"(?<![a-z0-9])(?:[23]d|[cdesw])?t2(?:w|wi|se|tse)?(?![a-z0-9])"
_TABLE: tuple[tuple[str | None, str], ...] = (  # words are lower case, separated by single spaces; the first that fits
    (None, r"\bt[12] ?map\b|\bt1 ?rho\b|\b(?:localizer|localiser|scout)\b"),
    ("ADC", r"\be?adc\b|apparent diffusion"),
    ("SWI", r"\bswi\b|\bswan\b|\bven ?bold\b|susceptib"),
    ("TOF", r"\btof\b|\bmra\b|angio"),
    ("PERFUSION", r"\bp?c?asl\b|\bdsc\b|\bpwi\b|perfusion|\bperf\b|\b(?:cbf|cbv|mtt|tmax)\b"),
    ("PET", r"\bpet\b|\bfdg\b|\bsuv\b"),
    ("DWI", r"\bdwi\b|\bdti\b|\bdiff\b|diffusion|\btracew?\b|\bb ?1000\b"),
    ("T2*", r"\bt2w? ?(?:\*|star\b)|\bhemo\b|" + _T2 + r" (?:\w+ )*(?:gre|ffe|fl2d)\b"),
    ("T1", r"t1w? ?(?:(?:tse|fse|se) )?flair"),
    ("FLAIR", r"flair|\bt2f\b|dark ?fluid|\bda fl\b"),
    (None, r"\bpd\b.*\bt2|\bt2w?\b.*\bpd\b"),
    ("PD", r"\bpdw?\b|proton density"),
    (None, f"^(?=.*{_T1})(?=.*{_T2})"),
    ("T1", _T1 + r"|mprage|\bmpr\b|spgr|bravo|\bvibe\b"),
    (None, r"\btirm\b|\bstir\b"),
    ("T2", _T2),
    ("CT", r"\b(?:n?cct|ct|ncct)\b"),
)
_ONTO = re.compile(
    r"(?:\b(?:(?:co)?reg(?:istered)?|warped|aligned)? ?(?:on)?to|\bspace(?= t[12]w\b| mni)) ?"
    r"(?:flair|t1\w*|t2\w*|dwi|mni\w*)\b(?: space\b)?"
)
"""Onto what an image was registered, which is not what it shows. (Siemens' SPACE is a sequence.)"""
_AGENT = (
    r"t1(?:c|ce|gd|post)\b|\b(?:ce|km|gd|gad\w*|contrast|c\+)(?![a-z0-9])|\bpost\b(?! ?(?:op|proc))|\+ ?(?:c|gd|km)\b"
)
_NO_AGENT = r"\b(?:pre|non?|without|w o|wo|ohne|nativ|native|vor|sans)\b"


def modality_of(text: str) -> str | None:
    """The contrast that a file name or a series description tells: one of ``CONTRASTS``, or ``None``.

    A BIDS name is read by its suffix (``ce-`` says that an agent was given), any other text by the table.
    """
    name = re.split(r"[\\/]", text)[-1] if re.search(r"[\\/]sub-[^\\/]*$", text) else text
    bids = _BIDS.match(name)
    if bids and (found := BIDS_SUFFIXES.get(bids["suffix"].lower())):
        return "T1GD" if found == "T1" and "_ce-" in bids["entities"].lower() else found
    words = _ONTO.sub(" ", re.sub(r"[^a-z0-9*+]+", " ", text.lower())).strip()
    found = next((contrast for contrast, pattern in _TABLE if re.search(pattern, words)), None)
    agent = found == "T1" and re.search(_AGENT, words) and not re.search(_NO_AGENT, words)
    return "T1GD" if agent else found
