"""The handler of ``examples/ten_thousand`` with a timeout for one order that a busy machine does not exceed."""

import app

import fanfold

handler = fanfold.consumer(
    concurrency=100,
    timeout=20,
    backoff=fanfold.Backoff(base=10, cap=900),
    lifespan=app.shop,
)(app.handler.__wrapped__)
