"""Makes this interpreter, on Linux, offer no more than Python for Windows or for macOS does.

Python imports it at the start if this folder is on PYTHONPATH; OTHER_PLATFORM says which of the two. Child processes
inherit both variables. What only the standard library itself may still use, because on Linux it cannot do without,
is refused to every other caller.
"""

import os

if os.environ.get("OTHER_PLATFORM"):
    import hidden

    hidden.hide(os.environ["OTHER_PLATFORM"])
