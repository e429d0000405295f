"""The logging section's own rule."""

from __future__ import annotations

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.config.logging import LoggingConfig


@pytest.mark.parametrize("end", [10, 9])
def test_profiling_ends_after_it_begins(end: int) -> None:
    with pytest.raises(ConfigError) as caught:
        LoggingConfig(profile=True, profile_step_start=10, profile_step_end=end).check()
    assert f"--profile-step-end {end}" in caught.value.given
    assert "--profile-step-end 11" in caught.value.fix
    LoggingConfig(profile=False, profile_step_start=10, profile_step_end=end).check()
    LoggingConfig(profile=True, profile_step_start=10, profile_step_end=11).check()
