"""Blinded reader studies: sealing cases into a study, and analysing its answers. Research use only.

The reading itself is BrainReaderStudy's; the two share files, described in docs/study_format.md, and no code.
"""
