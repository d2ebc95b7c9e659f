import pytest

from superinsight_sync_tests.capture.customers import Customer
from superinsight_sync_tests.capture.shop import Shop


def customer(request: pytest.FixtureRequest) -> Customer:
    shop: Shop = request.getfixturevalue("shop")
    return Customer(shop.dsn, shop.run)
