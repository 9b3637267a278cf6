"""Predicted latencies: of devices whose law is known, and against published figures computed by other means."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from predictor_bench.run import Share, covered, within
from scipy.stats import beta, multivariate_normal

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import network_cost, network_operators
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import SpecError
from mvit2_search.predict.estimate import FORMS, make_estimate
from mvit2_search.predict.predictor import (
    WORK,
    GaussianProcess,
    Hyperparameters,
    LatencyPredictor,
    kernel,
    most_likely,
    shape,
    work,
)
from mvit2_search.records import Measurement, Prediction
from mvit2_search.space import draw_networks, load_space


@cache
def networks(count):
    return draw_networks(load_space("blocks"), count, seed=3)


def lawful_ms(arch, lanes=16):
    """A device with prices of its own, that computes 16 channels at once, and an interaction no price explains."""
    row = dict(zip(WORK, work([arch], lanes, ClassifierHead(1000))[0], strict=True))
    arithmetic = 12 * row["pointwise GMACs"] + 15 * row["token GMACs"] + 60 * row["depthwise GMACs"]
    moved = sum(0.3 * value for name, value in row.items() if name.endswith("Melements"))
    return (1 + arithmetic + moved) * (1 + 0.1 * np.tanh(arch.stage_channels[2] / 256 - 1))


class TestWork:
    def test_channels_are_rounded_up_to_lanes(self):
        arch = ArchConfig.mobilevitv2(0.55)
        assert np.all(work([arch], 32, ClassifierHead(1000)) >= work([arch], 1, ClassifierHead(1000)))
        assert np.array_equal(
            work([ArchConfig.mobilevitv2(1.0)], 32, ClassifierHead(1000)),
            work([ArchConfig.mobilevitv2(1.0)], 1, ClassifierHead(1000)),
        )
        macs = [i for i, name in enumerate(WORK) if name.endswith("GMACs")]
        assert work([arch], 1, ClassifierHead(1000))[0, macs].sum() == pytest.approx(network_cost(arch).macs / 1e9)

    def test_every_operator_is_in_the_work(self):
        arch = ArchConfig.mobilevitv2(0.75)
        row, operators = work([arch], 1, ClassifierHead(1000))[0], network_operators(arch)
        assert row[WORK.index("operators")] == len(operators)
        elements = [i for i, name in enumerate(WORK) if name.endswith("Melements")]
        assert row[elements].sum() == pytest.approx(sum(operator.elements for operator in operators) / 1e6)


class TestGaussianProcess:
    def test_the_likelihood_is_that_of_the_normal_distribution(self):
        rng = np.random.default_rng(0)
        z = rng.normal(size=(30, 2))
        y = np.sin(z[:, 0]) + rng.normal(0, 0.1, 30)
        best = most_likely(z, y)

        def log_density(length, noise):
            shape_NN = kernel(z, z, length) + noise * np.eye(30)
            variance = y @ np.linalg.solve(shape_NN, y) / 30
            return multivariate_normal(np.zeros(30), variance * shape_NN).logpdf(y), variance

        found, variance = log_density(best.length, best.noise)
        assert best.variance == pytest.approx(variance)
        for factor in (0.5, 2):
            assert found > log_density(best.length * factor, best.noise)[0]
            assert found > log_density(best.length, best.noise * factor * factor)[0]

    def test_prediction_is_the_conditional_normal(self):
        rng = np.random.default_rng(1)
        x, y = rng.normal(size=(12, 1)), rng.normal(size=12)
        process = GaussianProcess(x, y, Hyperparameters(length=0.7, noise=0.2, variance=3.0))
        z = (np.append(x, [[0.4]], 0) - x.mean()) / x.std()
        joint = 3.0 * (np.exp(-((z - z.T) ** 2) / 2 / 0.7**2) + 0.2 * np.eye(13))
        gain = np.linalg.solve(joint[:12, :12], joint[:12, 12])
        mean, sigma = process.predict(np.array([[0.4]]))
        assert mean[0] == pytest.approx(gain @ y)
        assert sigma[0] ** 2 == pytest.approx(joint[12, 12] - gain @ joint[:12, 12])

    def test_a_feature_that_never_changes_has_no_weight(self):
        x = np.stack([np.arange(10.0), np.full(10, 5.0)], 1)
        process = GaussianProcess(x, np.sin(x[:, 0]))
        assert process.predict(np.array([[3.0, 5.0]]))[0] == pytest.approx(
            process.predict(np.array([[3.0, 9.0]]))[0]
        )


@pytest.fixture(scope="module")
def synthetic():
    """100 networks with 1 % of noise, and 300 others."""
    archs = networks(400)
    noise = np.random.default_rng(0).normal(0, 0.01, 400)
    truths = [lawful_ms(arch) * np.exp(e) for arch, e in zip(archs, noise, strict=True)]
    predictor = LatencyPredictor(archs[:100], truths[:100])
    return predictor, predictor.predict(archs[100:]), truths[100:]


class TestPredictor:
    def test_nearly_all_are_within_five_percent_of_a_lawful_device(self, synthetic):
        _, predictions, truths = synthetic
        assert within([p.latency_ms for p in predictions], truths, 5).pct >= 98

    def test_the_intervals_cover_what_they_say_and_are_narrow(self, synthetic):
        _, predictions, truths = synthetic
        low, high = covered(predictions, truths).interval_pct
        assert low < 95 < high + 1
        assert np.median([p.high_ms / p.low_ms for p in predictions]) < 1.12

    def test_it_finds_the_lanes_of_the_device(self, synthetic):
        assert synthetic[0].lanes == 16
        archs = networks(100)
        assert LatencyPredictor(archs, [lawful_ms(arch, 1) for arch in archs]).lanes == 1

    def test_the_same_measurements_give_the_same_predictions(self, synthetic):
        archs = networks(40)
        latencies = [lawful_ms(arch) for arch in archs]
        first, second = (LatencyPredictor(archs, latencies).predict(networks(60)) for _ in range(2))
        assert first == second

    def test_latencies_in_other_units_give_the_same_in_those(self):
        archs = networks(50)
        latencies = [lawful_ms(arch) for arch in archs[:40]]
        first = LatencyPredictor(archs[:40], latencies).predict(archs[40:])
        second = LatencyPredictor(archs[:40], [1e3 * ms for ms in latencies]).predict(archs[40:])
        assert [1e3 * p.low_ms for p in first] == pytest.approx([p.low_ms for p in second], rel=1e-6)

    @pytest.mark.parametrize(
        ("changes", "setting"),
        [
            ({"attention": "linformer"}, "attention: no measured network has 'linformer'"),
            ({"kernel_size": 5}, "kernel_sizes: no measured network has 5"),
            ({"patch_size": 4}, "patch_sizes: no measured network has 4"),
            ({"image_size": 192}, "image_size: no measured network has 192"),
        ],
    )
    def test_what_was_never_measured_is_refused(self, synthetic, changes, setting):
        with pytest.raises(SpecError, match=setting):
            synthetic[0].predict([ArchConfig.mobilevitv2(1.0, **changes)])

    def test_too_few_are_refused(self):
        with pytest.raises(SpecError, match="a predictor needs 20 measured networks, found 19"):
            LatencyPredictor(networks(19), [1.0] * 19)

    def test_nothing_asked_nothing_predicted(self, synthetic):
        assert synthetic[0].predict([]) == []


class TestShares:
    def test_the_interval_is_clopper_and_pearsons(self):
        share = within([1.0, 1.04, 1.06, 0.951], [1.0] * 4, 5)
        assert (share.hits, share.n) == (3, 4)
        assert share.interval_pct == pytest.approx((100 * beta.ppf(0.025, 3, 2), 100 * beta.ppf(0.975, 4, 1)))
        assert str(Share(hits=48, n=50)) == "48 of 50 (96 %; 95 % interval 86 to 100 %)"

    def test_covered_counts_truths_inside(self):
        row = Prediction(latency_ms=2.0, low_ms=1.0, high_ms=3.0, predictor="none")
        assert covered([row] * 3, [1.0, 2.0, 3.5]) == Share(hits=2, n=3)


PAPER = {0.5: 1.6, 1.0: 3.4, 1.5: 5.1, 2.0: 7.5}  # arXiv:2206.02680, table 6


class TestIphone12:
    def test_leave_one_out_is_that_of_a_least_squares_fit_by_hand(self):
        estimate = make_estimate("estimate:iphone12")
        amounts = {}
        for width in PAPER:
            operators = network_operators(ArchConfig.mobilevitv2(width))
            amounts[width] = np.array([sum(o.elements for o in operators), sum(o.macs for o in operators)]) / 1e6
        errors = []
        for out, truth in PAPER.items():
            kept = [width for width in PAPER if width != out]
            relative = np.array([amounts[width] / PAPER[width] for width in kept])
            prices = np.linalg.lstsq(relative, np.ones(3), rcond=None)[0]
            assert min(prices) > 0
            errors.append(100 * (amounts[out] @ prices / truth - 1))
        assert estimate.form == "prices of elements moved and multiply-adds"
        assert estimate.errors_pct[estimate.form] == pytest.approx(errors)
        assert estimate.leave_one_out_pct == pytest.approx(np.sqrt(np.mean(np.square(errors))))
        assert f"leave-one-out error {np.sqrt(np.mean(np.square(errors))):.1f} %" in estimate.description
        assert f"at most {max(map(abs, errors)):.1f} %" in estimate.description

    def test_a_power_law_by_hand(self):
        errors = []
        for out, truth in PAPER.items():
            kept = [width for width in PAPER if width != out]
            macs = {width: np.log(network_cost(ArchConfig.mobilevitv2(width)).macs) for width in PAPER}
            line = np.polyfit([macs[w] for w in kept], np.log([PAPER[w] for w in kept]), 1)
            errors.append(100 * (np.exp(np.polyval(line, macs[out])) / truth - 1))
        assert make_estimate("iphone12").errors_pct["a power of multiply-adds"] == pytest.approx(errors)

    def test_the_form_is_the_best_of_all_that_were_tried(self):
        estimate = make_estimate("iphone12")
        rms = {form: np.sqrt(np.mean(np.square(errors))) for form, errors in estimate.errors_pct.items()}
        assert set(rms) == set(FORMS)
        assert rms[estimate.form] == min(rms.values())

    @pytest.mark.parametrize("width", PAPER)
    def test_the_published_figures_are_within_a_few_percent_and_the_interval(self, width):
        found = make_estimate("iphone12").predict(ArchConfig.mobilevitv2(width))
        assert found.latency_ms == pytest.approx(PAPER[width], rel=0.04)
        assert found.low_ms < PAPER[width] < found.high_ms
        assert not isinstance(found, Measurement)
        assert str(found).startswith("predicted ")
        assert "published figures for iPhone 12" in found.predictor

    def test_networks_off_the_line_of_widths_have_wider_intervals(self):
        estimate = make_estimate("iphone12")

        def spread(arch):
            found = estimate.predict(arch)
            return (found.high_ms - found.low_ms) / found.latency_ms

        usual = spread(ArchConfig.mobilevitv2(1.0))
        assert spread(ArchConfig.mobilevitv2((0.5, 0.5, 0.5, 2.0, 2.0))) > 1.1 * usual
        assert spread(ArchConfig.mobilevitv2(1.0, attention_layers=0)) > 1.5 * usual

    @pytest.mark.parametrize(
        ("arch", "words"),
        [
            (ArchConfig.mobilevitv1("xs"), "family: expected mobilevitv2, found mobilevitv1"),
            (ArchConfig.mobilevitv2(1.0, attention="linformer"), "attention: expected separable, found linformer"),
            (ArchConfig.mobilevitv2(1.0, kernel_size=(3, 3, 5, 3, 3)), "kernel_sizes: expected 3, found 5"),
            (ArchConfig.mobilevitv2(1.0, patch_size=(2, 2, 4)), "patch_sizes: expected 2, found 4"),
            (ArchConfig.mobilevitv2(1.0, image_size=224), "image_size: expected 256, found 224"),
            (
                ArchConfig.mobilevitv2((1, 1, 1, 2.2, 1)),
                r"stage_channels: expected 192 to 768 at place 4, found 848",
            ),
            (ArchConfig.mobilevitv2(1.0, attention_width=0.4), "attention_dims: expected 64 to 256 at place 1"),
            (
                ArchConfig.mobilevitv2(0.5, expand_ratio=1.0),
                "multiply-adds: expected 464.6 to 7155.8 million, found",
            ),
            (ArchConfig.mobilevitv2(2.0, expand_ratio=3.0), "multiply-adds: expected"),
        ],
    )
    def test_other_networks_are_refused_and_the_setting_named(self, arch, words):
        with pytest.raises(SpecError, match=f"estimate:iphone12: {words}"):
            make_estimate("iphone12").predict(arch)

    def test_stem_channels_too(self):
        arch = replace(ArchConfig.mobilevitv2(1.0), stem_channels=72)
        with pytest.raises(SpecError, match="stem_channels: expected 16 to 64"):
            make_estimate("iphone12").predict(arch)

    def test_other_phones_are_unknown(self):
        with pytest.raises(SpecError, match="estimate 'iphone13': expected one of iphone12"):
            make_estimate("estimate:iphone13")


class TestShape:
    def test_networks_that_differ_have_different_shapes(self):
        rows = shape(networks(50))
        assert len(np.unique(rows, axis=0)) == 50
