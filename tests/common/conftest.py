import pytest

from tests.common.made_up_training import Options


@pytest.fixture
def options(tmp_path):
    """Options of a made-up run "a" in tmp_path."""
    return Options(log_root=tmp_path / "logs", figure_root=tmp_path / "figures", run_name="a", log_every=2)
