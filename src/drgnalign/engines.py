"""The refinement engines there are."""

from __future__ import annotations

from collections.abc import Callable

from drgnalign.engine.native import NativeEngine
from drgnalign.external.frealign9 import Frealign9
from drgnalign.external.frealignx import FrealignX
from drgnalign.interface import ENGINE_NAMES, Engine, EngineSettings

ENGINES: dict[str, Callable[[EngineSettings], Engine]] = dict(
    zip(ENGINE_NAMES, (NativeEngine, FrealignX, Frealign9), strict=True)
)
