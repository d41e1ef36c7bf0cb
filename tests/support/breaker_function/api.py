"""A function of an API that calls the same service, with Powertools' circuit breaker in the same table."""

import os
from pathlib import Path
from typing import Any

from aws_lambda_powertools.utilities.circuit_breaker import CircuitBreakerConfig, circuit_breaker
from aws_lambda_powertools.utilities.circuit_breaker.exceptions import CircuitBreakerOpenError
from aws_lambda_powertools.utilities.circuit_breaker.persistence import CircuitBreakerDynamoDBPersistence


@circuit_breaker(
    name=os.environ["BREAKER"],
    persistence_store=CircuitBreakerDynamoDBPersistence(os.environ["FANFOLD_BREAKER_TABLE"]),
    config=CircuitBreakerConfig(failure_threshold=2, handled_exceptions=(ConnectionError,), local_cache_max_age=0),
)
def pay() -> str:
    """Call the service."""
    if not (Path(os.environ["FOLDER"]) / "up").exists():
        raise ConnectionError("the service is down")
    return "paid"


def handler(event: Any, context: Any) -> str:
    """Return what happened to a request."""
    try:
        return pay()
    except CircuitBreakerOpenError:
        return "open"
    except ConnectionError:
        return "failed"
