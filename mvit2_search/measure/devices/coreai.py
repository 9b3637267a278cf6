"""A Mac, by the system's Core AI, on the compute units that it chooses itself."""

import asyncio
import platform
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Any

from mvit2_search.errors import BackendUnavailable, MeasurementError, first_line
from mvit2_search.export.runtimes.coreai import FUNCTION, NDArray, check_installed, in_thread, opened
from mvit2_search.measure.devices.machine import LocalDevice
from mvit2_search.measure.protocol import TimingPlan
from mvit2_search.measure.visits import random_input, take_turns
from mvit2_search.records import Artifact, Samples

_FIRST_MACOS = 27


class CoreAIDevice(LocalDevice):
    """In single precision: the precision in which files pass the comparison with their network."""

    format = "aimodel"
    words = "Core AI on this Mac"
    package = "coreai-core"
    compute_units = "ALL"
    threads = 0

    def check(self) -> None:
        if platform.system() != "Darwin" or int(platform.mac_ver()[0].split(".")[0]) < _FIRST_MACOS:
            raise BackendUnavailable(
                f"{self.name}: devices run Core AI from macOS {_FIRST_MACOS} on; use `device` coreml on an "
                "older Mac, `device` host elsewhere"
            )
        check_installed("coreai")
        from coreai.runtime import SpecializationOptions

        if not SpecializationOptions.is_supported():
            raise BackendUnavailable(f"{self.name}: the package would use its own runtime: unset USE_LOCAL_COREAI")

    def time(self, candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
        self.check()
        if {candidate.precision, reference.precision} != {"float32"}:
            raise MeasurementError("coreai: single precision is timed; this asset is in half precision")
        samples: Samples = in_thread(_visit, candidate, reference, plan)
        return samples


def _visit(candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
    """One event loop for the whole visit; a pass is timed inside it, without the way in and out."""
    with asyncio.Runner() as loop:
        stack = AsyncExitStack()
        try:
            pass_ms, load_ms = loop.run(_loaded(stack, candidate))
            other_ms, _ = loop.run(_loaded(stack, reference))
            return take_turns(
                lambda: loop.run(pass_ms()), lambda: loop.run(other_ms()), plan=plan, load_ms=load_ms
            )
        finally:
            loop.run(stack.aclose())


async def _loaded(
    stack: AsyncExitStack, artifact: Artifact
) -> tuple[Callable[[], Coroutine[Any, Any, float]], float]:
    """What times a pass, and how long loading took: it specialises the network, which the system may remember."""
    from coreai.runtime import NDArray as InstalledArray
    from coreai.runtime import SpecializationOptions

    asset, _ = opened(artifact.path)
    options = SpecializationOptions.default() if SpecializationOptions.is_supported() else None
    start = perf_counter()
    try:
        model = await stack.enter_async_context(asset.executable(options))
        function = model.load_function(FUNCTION)
    except Exception as err:
        raise MeasurementError(f"{artifact.path.name}: Core AI cannot load it: {first_line(err)}") from err
    load_ms = 1e3 * (perf_counter() - start)
    value = random_input(shape=artifact.input_shape, precision=artifact.precision)
    inputs: dict[str, NDArray] = {artifact.input_name: InstalledArray(value)}

    async def pass_ms() -> float:
        start = perf_counter()
        try:
            await function(inputs)
        except Exception as err:  # whatever its Swift side makes of it
            raise MeasurementError(f"Core AI cannot run the network: {first_line(err)}") from err
        return 1e3 * (perf_counter() - start)

    return pass_ms, load_ms
