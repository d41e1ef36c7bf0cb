"""Verify with a second type checker that every public name has a complete type.

Public names are those in the ``__all__`` of a module, and those reachable from them in packages with an underscore.
The templates of new projects and the bundled examples are not public.
Prints each name with an incomplete type; the exit code is 1 if there is one.

    python tests/typing/completeness.py
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

EXCLUDED = ("fanfold.init.templates.", "fanfold._stack.files.")


def main() -> int:
    """Print the names with incomplete types, and the totals; return the exit code."""
    command = [sys.executable, "-m", "basedpyright", "--verifytypes", "fanfold", "--ignoreexternal", "--outputjson"]
    # The checker uses the packages of the first Python on the path.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - the checker
    report = json.loads(done.stdout)["typeCompleteness"]
    modules = [module["name"] for module in report["modules"] if not module["name"].startswith(EXCLUDED)]
    listed = {module: getattr(importlib.import_module(module), "__all__", ()) for module in modules}
    public = tuple(f"{module}.{name}." for module, names in listed.items() for name in names)
    symbols = [
        symbol
        for symbol in report["symbols"]
        if f"{symbol['name']}.".startswith(public) or _is_reachable(symbol["name"])
    ]
    if not symbols:
        sys.exit("the type checker found no public names: install fanfold in this environment")
    incomplete = [symbol for symbol in symbols if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]]
    for symbol in incomplete:
        print(symbol["name"], *(_one_line(diagnostic) for diagnostic in symbol["diagnostics"]), sep="\n    ")
    print(f"{len(symbols) - len(incomplete)} of {len(symbols)} public names have complete types")
    return 1 if incomplete else 0


def _is_reachable(name: str) -> bool:
    """Return whether a name is in a package with an underscore; the checker lists only reachable ones."""
    _, package, *rest = name.split(".")
    private = any(part.startswith("_") and not part.startswith("__") for part in rest)
    return package.startswith("_") and bool(rest) and not private


def _one_line(diagnostic: dict[str, Any]) -> str:
    return " ".join(diagnostic["message"].split())


if __name__ == "__main__":
    sys.exit(main())
