"""Ask a second checker whether every public name says its type, so that it means the same to each user's checker.

Public is what a module's ``__all__`` lists, and what can be reached from there in packages with an underscore; new
projects and examples that come along are not.
Prints each name that leaves something open; the exit code says whether there is one.

    python tests/typing/completeness.py
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

NOT_OURS = ("fanfold.init.templates.", "fanfold._stack.files.")


def main() -> int:
    """Print what is not typed, and how much is."""
    command = [sys.executable, "-m", "basedpyright", "--verifytypes", "fanfold", "--ignoreexternal", "--outputjson"]
    # It looks where the first Python on the path does.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - the checker
    report = json.loads(done.stdout)["typeCompleteness"]
    modules = [each["name"] for each in report["modules"] if not each["name"].startswith(NOT_OURS)]
    listed = {module: getattr(importlib.import_module(module), "__all__", ()) for module in modules}
    public = tuple(f"{module}.{name}." for module, names in listed.items() for name in names)
    symbols = [each for each in report["symbols"] if f"{each['name']}.".startswith(public) or _is_reached(each["name"])]
    if not symbols:
        sys.exit("the checker found no public name: is fanfold installed?")
    vague = [each for each in symbols if not each["isTypeKnown"] or each["isTypeAmbiguous"]]
    for each in vague:
        print(each["name"], *(_in_words(why) for why in each["diagnostics"]), sep="\n    ")
    print(f"{len(symbols) - len(vague)} of {len(symbols)} public names are typed to the last part")
    return 1 if vague else 0


def _is_reached(name: str) -> bool:
    """Return whether a name lies in a package with an underscore: the checker lists those reached."""
    _, package, *rest = name.split(".")
    private = any(part.startswith("_") and not part.startswith("__") for part in rest)
    return package.startswith("_") and bool(rest) and not private


def _in_words(diagnostic: dict[str, Any]) -> str:
    return " ".join(diagnostic["message"].split())


if __name__ == "__main__":
    sys.exit(main())
