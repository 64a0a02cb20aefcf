"""Is there a graphics library to draw with? Asked before VTK is: without one its first window ends the process."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
from collections.abc import Callable, Mapping

from braindiffusion.errors import EnvironmentProblemError

DEBIAN_PACKAGES = "libegl1 libgl1 libosmesa6 libgl1-mesa-dri libxrender1"
WINDOWED, HEADLESS = ("GL",), ("EGL", "OSMesa")
SONAMES = {
    "GL": ("libGL.so.1", "libGL.so"),
    "EGL": ("libEGL.so.1", "libEGL.so"),
    "OSMesa": ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so"),
}


class GraphicsMissingError(EnvironmentProblemError):
    """No OpenGL library that the viewer could draw with."""


def _can_open(name: str) -> bool:
    found = ctypes.util.find_library(name)
    for candidate in (*([found] if found else []), *SONAMES[name]):
        try:
            ctypes.CDLL(candidate)
        except OSError:
            continue
        return True
    return False


def graphics_libraries(can_open: Callable[[str], bool] = _can_open) -> list[str]:
    """Names of the OpenGL libraries that can be loaded here (Linux)."""
    return [name for name in SONAMES if can_open(name)]


def missing(libraries: list[str]) -> GraphicsMissingError:
    """The error that says which package to install."""
    found = f"Only lib{libraries[0]} was found, and there is no display." if libraries else "None was found."
    return GraphicsMissingError(
        "The viewer cannot draw: no usable OpenGL library.",
        f"VTK needs libEGL or libOSMesa, or libGL with a display. {found}",
        f"On Debian or Ubuntu: sudo apt-get install {DEBIAN_PACKAGES}"
        " (Fedora: sudo dnf install mesa-libEGL mesa-libGL mesa-dri-drivers).",
    )


def require_graphics(
    platform: str = sys.platform,
    environment: Mapping[str, str] = os.environ,
    can_open: Callable[[str], bool] = _can_open,
) -> None:
    """Pass where VTK will find a way to draw; Windows and macOS always have one.

    Raises:
        GraphicsMissingError: otherwise, with the packages to install.
    """
    if not platform.startswith("linux"):
        return
    libraries = graphics_libraries(can_open)
    headless = any(name in libraries for name in HEADLESS)
    windowed = any(name in libraries for name in WINDOWED) and bool(environment.get("DISPLAY"))
    if not (headless or windowed):
        raise missing(libraries)
