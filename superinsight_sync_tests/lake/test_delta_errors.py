"""Which failures of a storage are waited out."""

import errno

import pytest

from superinsight_sync.core.errors import TransientError
from superinsight_sync.lake.delta_errors import storage_errors


@pytest.mark.parametrize(
    ("error", "waited_out"),
    [
        (OSError("Kernel error -> Generic S3 error: error sending request for url"), True),
        (OSError("When reading information for key: AWS Error NETWORK_CONNECTION"), True),
        (OSError(errno.ECONNREFUSED, "Connection refused"), True),
        (OSError(errno.EIO, "Input/output error"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
    ],
)
def test_a_store_that_is_away_is_waited_for_and_a_broken_disk_is_not(
    error: OSError, waited_out: bool
) -> None:
    with pytest.raises(TransientError) as told, storage_errors("shop/orders"):
        raise error
    assert (told.value.patience_s > 0) == waited_out
