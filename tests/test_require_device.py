"""A skip for a missing device cannot hide where the device is required."""

import pytest

from conftest import pytest_configure, require_device
from mvit2_search.errors import BackendUnavailable
from mvit2_search.measure.devices.coreml import device as coreml


def test_a_missing_device_is_skipped_or_fails_where_it_is_required(monkeypatch):
    def unavailable(self):
        raise BackendUnavailable("coreml: not here")

    monkeypatch.setattr(coreml.CoreMLDevice, "check", unavailable)
    monkeypatch.delenv("MVIT2_REQUIRE_DEVICES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="not here"):
        require_device("coreml:ne")
    monkeypatch.setenv("MVIT2_REQUIRE_DEVICES", "host, coreml")
    with pytest.raises(pytest.fail.Exception, match="MVIT2_REQUIRE_DEVICES lists it: coreml: not here"):
        require_device("coreml:ne")


def test_a_device_that_does_not_exist_cannot_be_required(monkeypatch):
    monkeypatch.setenv("MVIT2_REQUIRE_DEVICES", "host,coremI")
    with pytest.raises(pytest.UsageError, match="'coremI': expected host, executorch, coreml, coreai"):
        pytest_configure()
