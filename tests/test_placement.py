"""Where Core ML plans to run the operators of a network, on constructed plans."""

import coreml_stand_in as constructed
from mvit2_search.measure.devices.coreml.worker import planned_shares


def test_the_placement_counts_operators_with_a_device():
    cpu, gpu, ne, const = (
        constructed.operation(d) for d in (constructed.CPU, constructed.GPU, constructed.NE, None)
    )
    plan = constructed.ConstructedPlan(constructed.block(const, ne, ne, cpu, gpu, const))
    assert planned_shares(plan) == (("CPU", 0.25), ("GPU", 0.25), ("NeuralEngine", 0.5))


def test_the_placement_looks_into_branches_and_all_functions():
    branches = [constructed.block(constructed.operation(constructed.NE)) for _ in range(2)]
    whole = constructed.block(constructed.operation(constructed.CPU, branches))
    second = constructed.block(constructed.operation(constructed.NE))
    plan = constructed.ConstructedPlan(whole, second)
    assert planned_shares(plan) == (("CPU", 0.25), ("NeuralEngine", 0.75))


def test_a_network_that_is_no_program_has_no_placement():
    assert planned_shares(constructed.ConstructedPlan()) == ()
    assert planned_shares(constructed.ConstructedPlan(constructed.block(constructed.operation()))) == ()
