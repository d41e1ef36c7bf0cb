"""A handler that opens X-Ray subsegments in its worker process, which imports this module."""

from aws_lambda_powertools import Tracer

import fanfold

tracer = Tracer(service="orders", auto_patch=False)


@tracer.capture_method
def work(number: int) -> None:
    """Open a subsegment, and annotate it."""
    tracer.put_annotation("number", number)


@fanfold.consumer(processes=1)
def handler(number: int) -> None:
    """Work on a number."""
    work(number)
    if number < 0:
        tracer.provider.begin_subsegment("left open")
