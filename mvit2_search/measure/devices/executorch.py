"""This machine's CPU, by ExecuTorch with XNNPACK on one thread: the kernels that Android phones run."""

from importlib.metadata import version
from time import perf_counter, sleep

import numpy as np

from mvit2_search.export.runtimes.executorch import Network, check_installed
from mvit2_search.measure.devices.machine import passport_here
from mvit2_search.measure.devices.registry import DeviceAddress
from mvit2_search.measure.protocol import THIS_COMPUTER, TimingPlan
from mvit2_search.measure.visits import random_input, take_turns
from mvit2_search.records import Artifact, Passport, Samples


class ExecuTorchDevice:
    """Single precision, batch 1, one thread."""

    format = "pte"
    lease = THIS_COMPUTER
    pause = staticmethod(sleep)

    def __init__(self, address: DeviceAddress) -> None:
        self.address = address

    def check(self) -> None:
        check_installed()

    def passport(self) -> Passport:
        return passport_here(
            device="ExecuTorch with XNNPACK on this computer's CPU",
            runtime=f"executorch {version('executorch')}",
            compute_units="CPU",
            precision="float32",
            threads=1,
        )

    def time(self, candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
        start = perf_counter()
        network = Network(candidate.path)
        load_ms = 1e3 * (perf_counter() - start)
        other = Network(reference.path)
        inputs = [random_input(shape=a.input_shape, precision=a.precision) for a in (candidate, reference)]
        return take_turns(
            lambda: _pass_ms(network, inputs[0]), lambda: _pass_ms(other, inputs[1]), plan=plan, load_ms=load_ms
        )


def _pass_ms(network: Network, x_BCHW: np.ndarray) -> float:
    start = perf_counter()
    network.run(x_BCHW)
    return 1e3 * (perf_counter() - start)
