"""Draws the modules' icons and the sample's thumbnail: python tools/make_icons.py (needs PySide6 and SimpleITK)."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
from PySide6 import QtCore, QtGui

ROOT = Path(__file__).resolve().parents[1]
ICONS = ROOT / "BrainCounterfactual" / "Resources" / "Icons"
SIZE = 128


def brain_outline() -> QtGui.QPainterPath:
    """An axial brain, seen from below: two hemispheres with a notch in front and behind."""
    path = QtGui.QPainterPath()
    path.moveTo(64, 16)
    path.cubicTo(76, 6, 104, 14, 110, 44)
    path.cubicTo(116, 74, 106, 108, 80, 114)
    path.cubicTo(72, 116, 66, 112, 64, 108)
    path.cubicTo(62, 112, 56, 116, 48, 114)
    path.cubicTo(22, 108, 12, 74, 18, 44)
    path.cubicTo(24, 14, 52, 6, 64, 16)
    return path


def icon() -> QtGui.QImage:
    """Left half: a scan with a bright lesion. Right half: the same place healed, in another light."""
    image = QtGui.QImage(SIZE, SIZE, QtGui.QImage.Format.Format_ARGB32)
    image.fill(0)
    painter = QtGui.QPainter(image)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    outline = brain_outline()
    for left, light, dark in ((True, "#c9d2dc", "#8793a1"), (False, "#f3c877", "#c98a1b")):
        painter.save()
        painter.setClipRect(QtCore.QRectF(0 if left else 64, 0, 64, SIZE))
        gradient = QtGui.QRadialGradient(64, 60, 66)
        gradient.setColorAt(0, QtGui.QColor(light))
        gradient.setColorAt(1, QtGui.QColor(dark))
        painter.fillPath(outline, gradient)
        painter.restore()
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    painter.setBrush(QtGui.QColor("#48535f"))  # the ventricles
    for x, turn in ((54, 14), (74, -14)):
        painter.save()
        painter.translate(x, 60)
        painter.rotate(turn)
        painter.drawEllipse(QtCore.QPointF(0, 0), 5, 20)
        painter.restore()
    painter.setBrush(QtGui.QColor("#d83a45"))  # the lesion
    painter.drawEllipse(QtCore.QPointF(36, 46), 12, 10)
    pen = QtGui.QPen(QtGui.QColor("#7a4a00"), 3, QtCore.Qt.PenStyle.DashLine)
    painter.setPen(pen)
    painter.setBrush(QtCore.Qt.BrushStyle.NoBrush)
    painter.drawEllipse(QtCore.QPointF(92, 46), 12, 10)  # where it would be
    painter.setPen(QtGui.QPen(QtGui.QColor("#2d353d"), 4))
    painter.drawPath(outline)
    painter.setPen(QtGui.QPen(QtGui.QColor("#2d353d"), 2))
    painter.drawLine(64, 16, 64, 108)
    painter.end()
    return image


def lesion_icon() -> QtGui.QImage:
    """A healthy brain into which a lesion, and the margin that answers it, has been put: hence the plus."""
    image = QtGui.QImage(SIZE, SIZE, QtGui.QImage.Format.Format_ARGB32)
    image.fill(0)
    painter = QtGui.QPainter(image)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    outline = brain_outline()
    gradient = QtGui.QRadialGradient(64, 60, 66)
    gradient.setColorAt(0, QtGui.QColor("#c9d2dc"))
    gradient.setColorAt(1, QtGui.QColor("#8793a1"))
    painter.fillPath(outline, gradient)
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    painter.setBrush(QtGui.QColor("#48535f"))  # the ventricles, the one beside the lesion pushed aside
    for x, turn, width in ((54, 14, 5), (71, -8, 3.5)):
        painter.save()
        painter.translate(x, 60)
        painter.rotate(turn)
        painter.drawEllipse(QtCore.QPointF(0, 0), width, 20)
        painter.restore()
    painter.setPen(QtGui.QPen(QtGui.QColor("#2d353d"), 2))
    painter.drawLine(64, 16, 64, 108)
    painter.setPen(QtGui.QPen(QtGui.QColor("#1f9fb5"), 3, QtCore.Qt.PenStyle.DashLine))  # the margin
    painter.setBrush(QtGui.QColor(60, 200, 220, 60))
    painter.drawEllipse(QtCore.QPointF(90, 50), 18, 21)
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    painter.setBrush(QtGui.QColor("#d83a45"))  # the lesion
    painter.drawEllipse(QtCore.QPointF(91, 50), 10, 12)
    painter.setBrush(QtCore.Qt.BrushStyle.NoBrush)
    painter.setPen(QtGui.QPen(QtGui.QColor("#2d353d"), 4))
    painter.drawPath(outline)
    painter.setPen(QtGui.QPen(QtGui.QColor("#ffffff"), 2))
    painter.setBrush(QtGui.QColor("#7a5200"))
    painter.drawEllipse(QtCore.QPointF(103, 103), 20, 20)
    pen = QtGui.QPen(QtGui.QColor("#ffffff"), 6)
    pen.setCapStyle(QtCore.Qt.PenCapStyle.RoundCap)
    painter.setPen(pen)
    painter.drawLine(93, 103, 113, 103)
    painter.drawLine(103, 93, 103, 113)
    painter.end()
    return image


def study_icon() -> QtGui.QImage:
    """Half a brain in the light of a scan, half in the other's: which is which is asked."""
    image = QtGui.QImage(SIZE, SIZE, QtGui.QImage.Format.Format_ARGB32)
    image.fill(0)
    painter = QtGui.QPainter(image)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    outline = brain_outline()
    for left, color in ((True, "#aab6c2"), (False, "#e0a94a")):
        painter.save()
        painter.setClipRect(QtCore.QRectF(0 if left else 64, 0, 64, SIZE))
        painter.fillPath(outline, QtGui.QColor(color))
        painter.restore()
    painter.setPen(QtGui.QPen(QtGui.QColor("#2d353d"), 4))
    painter.drawPath(outline)
    painter.setFont(QtGui.QFont("DejaVu Sans", 52, QtGui.QFont.Weight.Bold))
    painter.drawText(QtCore.QRectF(0, 4, SIZE, 110), QtCore.Qt.AlignmentFlag.AlignCenter, "?")
    painter.setPen(QtGui.QPen(QtGui.QColor("#ffffff"), 2))
    for n in range(5):  # grades 0 to 4
        painter.setBrush(QtGui.QColor("#1f9fb5" if n == 3 else "#48535f"))
        painter.drawEllipse(QtCore.QPointF(20 + 22 * n, 116), 8, 8)
    painter.end()
    return image


def thumbnail() -> QtGui.QImage:
    """The slice of the sample with the largest lesion, 260 x 280."""
    import numpy as np
    import SimpleITK as sitk  # noqa: N813 - its usual name

    samples = ROOT / "Resources" / "Samples"
    scan = sitk.DICOMOrient(sitk.ReadImage(str(samples / "SYNTHETIC_FLAIR_lesion.nii.gz")), "LPS")
    truth = sitk.DICOMOrient(sitk.ReadImage(str(samples / "SYNTHETIC_FLAIR_lesion_truth.nii.gz")), "LPS")
    k = int(sitk.GetArrayFromImage(truth).sum((1, 2)).argmax())
    plane = sitk.GetArrayFromImage(scan)[k].astype(float)
    grey = np.clip(plane / np.percentile(plane, 99.5), 0, 1) * 255
    grey = np.ascontiguousarray(grey.astype(np.uint8))
    view = QtGui.QImage(grey.data, grey.shape[1], grey.shape[0], grey.shape[1], QtGui.QImage.Format.Format_Grayscale8)
    x, y = scan.GetSpacing()[:2]
    height = 280
    width = round(height * grey.shape[1] * x / (grey.shape[0] * y))
    scaled = view.scaled(
        width,
        height,
        QtCore.Qt.AspectRatioMode.IgnoreAspectRatio,
        QtCore.Qt.TransformationMode.SmoothTransformation,
    )
    image = QtGui.QImage(260, 280, QtGui.QImage.Format.Format_RGB32)
    image.fill(QtGui.QColor("black"))
    painter = QtGui.QPainter(image)
    painter.drawImage((260 - width) // 2, 0, scaled)
    painter.setPen(QtGui.QColor("#f0a830"))
    painter.setFont(QtGui.QFont("DejaVu Sans", 11, QtGui.QFont.Weight.Bold))
    painter.drawText(
        image.rect().adjusted(0, 0, 0, -6),
        QtCore.Qt.AlignmentFlag.AlignHCenter | QtCore.Qt.AlignmentFlag.AlignBottom,
        "SYNTHETIC",
    )
    painter.end()
    return image


def main() -> None:
    app = QtGui.QGuiApplication([])
    ICONS.mkdir(parents=True, exist_ok=True)
    for path in (ICONS / "BrainCounterfactual.png", ROOT / "BrainCounterfactual.png"):
        icon().save(str(path))
    lesion = ROOT / "BrainLesionSim" / "Resources" / "Icons"
    lesion.mkdir(parents=True, exist_ok=True)
    lesion_icon().save(str(lesion / "BrainLesionSim.png"))
    study_icon().save(str(ROOT / "BrainReaderStudy" / "Resources" / "Icons" / "BrainReaderStudy.png"))
    thumbnail().save(str(ICONS / "BrainCounterfactualSample.png"))
    app.quit()


if __name__ == "__main__":
    main()
