"""One thread for all tests of training."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Small convolutions are fastest on one thread, and busy machines don't slow them down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
