"""The SDK is loaded during Lambda's init phase if the settings will need it, and never on the event loop."""

import pytest

from command import python

pytestmark = pytest.mark.slow  # each starts a process that imports the SDK

PROGRAM = """
    import os, sys
    os.environ |= {environment}
    import fanfold
    from fanfold.idempotency import Idempotency

    @fanfold.consumer({settings})
    async def handler(number: int) -> None: ...

    print("aiobotocore.session" in sys.modules)
"""
LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "function"}
DEAD_LETTERS = {"FANFOLD_DEAD_LETTER_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/1/dead"}


@pytest.mark.parametrize(
    ("environment", "settings", "loaded"),
    [
        (LAMBDA, "backoff=fanfold.Backoff()", True),
        (LAMBDA | DEAD_LETTERS, "", True),
        (LAMBDA, "large_payloads=True", True),
        (LAMBDA, "idempotency=Idempotency(lambda body: str(body), table='t')", True),
        (LAMBDA, "", False),
        ({}, "backoff=fanfold.Backoff()", False),
    ],
)
def test_the_sdk_is_loaded_at_init_only_on_lambda_and_only_if_the_settings_need_it(environment, settings, loaded):
    """Elsewhere an import stays cheap."""
    done = python(PROGRAM.format(environment=environment, settings=settings))
    assert done.stdout.strip() == str(loaded), done.stderr


def test_a_client_is_created_without_loading_on_the_event_loop():
    """The thread that loads the description of SQS is not the event loop's."""
    done = python("""
        import asyncio, os, threading
        os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_DEFAULT_REGION": "eu-west-1"}
        from botocore.loaders import JSONFileLoader
        threads = set()
        load = JSONFileLoader.load_file
        JSONFileLoader.load_file = lambda *args: (threads.add(threading.current_thread().name), load(*args))[1]
        from fanfold.aws.sqs import open_settler

        async def main():
            async with open_settler(""):
                pass

        asyncio.run(main())
        print("MainThread" in threads, len(threads) > 0)
    """)
    assert done.stdout.split() == ["False", "True"], done.stderr
