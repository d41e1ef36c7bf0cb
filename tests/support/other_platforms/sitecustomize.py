"""Makes this interpreter on Linux lack what Python lacks on Windows, or on macOS.

Python imports this module at startup if its folder is on PYTHONPATH; OTHER_PLATFORM selects the platform. Child
processes inherit both variables. The standard library may use what it needs on Linux; all other callers may not.
"""

import os

if os.environ.get("OTHER_PLATFORM"):
    import removal

    removal.remove_what_is_missing_on(os.environ["OTHER_PLATFORM"])
