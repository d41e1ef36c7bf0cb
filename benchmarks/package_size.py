"""The size of the deployment packages and the duration of their imports, by function and by extra.

::

    python benchmarks/package_size.py [--repeats 15] [--json FILE]

Each package is installed by pip into a separate folder, for this Python and this processor, as by the makefiles that
``sam build`` runs; fanfold is built from this checkout. The importing process sees nothing else. Times are those of the
import inside a new process, the fastest of the repeats, because other load of the machine only adds to them. They are
measured with compiled modules in the package, and without, as on Lambda if the package was built without the function's
Python version: Lambda cannot store compiled modules.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from measure import fail, main, table

ROOT = Path(__file__).parents[1]
FLIGHTS = ROOT / "examples" / "flights"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
MACHINE = "aarch64" if os.uname().machine in {"aarch64", "arm64"} else "x86_64"
EXTRAS = {
    "fanfold": "import fanfold; fanfold.consumer",
    "fanfold[pydantic]": "import fanfold, pydantic; fanfold.consumer",
    "fanfold[msgspec]": "import fanfold, msgspec; fanfold.consumer",
    "fanfold[powertools]": (
        "import fanfold; fanfold.consumer; from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord"
    ),
    "fanfold[excel]": "import fanfold, xlsxwriter; fanfold.consumer",
    "fanfold[aws]": "import fanfold, fanfold.aws.sqs; fanfold.consumer",
    "fanfold[parquet]": "import fanfold, pyarrow.parquet; fanfold.consumer",
}
"""The imports of a function with each extra."""
FUNCTIONS = {
    "ScatterFunction": "import app; app.scatter_handler",
    "SegmentFunction": "import app; app.segment_handler",
    "DeadLetterFunction": "import app; app.dead_letter_handler",
    "FoldFunction": "import app; app.fold_handler",
}
NAMED = ("fanfold", "anyio", "aiobotocore", "aws-lambda-powertools", "msgspec", "pydantic", "pyarrow", "xlsxwriter")
TIMED = """
import sys, time
sys.path[:0] = sys.argv[2:]
start = time.perf_counter()
exec(sys.argv[1])
print((time.perf_counter() - start) * 1000)
"""


def run(*command: object, cwd: Path | None = None) -> str:
    """Run a command and return its output.

    Raises:
        SystemExit: If it fails.
    """
    arguments = [str(argument) for argument in command]
    environment = {**os.environ, "AWS_LAMBDA_FUNCTION_NAME": "measured"}  # the SDK is loaded at import, as in Lambda
    done = subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if done.returncode:
        fail(f"{arguments[0]} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def make(target: str, artifacts: Path) -> None:
    """Run a target of the makefile in a copy of the example, as ``sam build`` does; nothing is compiled yet."""
    architecture = "arm64" if MACHINE == "aarch64" else "x86_64"
    variables = (f"ARTIFACTS_DIR={artifacts}", f"ARCHITECTURE={architecture}", f"PYTHON_VERSION={VERSION}")
    artifacts.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(FLIGHTS, scratch, dirs_exist_ok=True)
        pip = f"PIP={sys.executable} -m pip"
        run("make", "-f", FLIGHTS / "Makefile", *variables, pip, "COMPILE=", target, cwd=Path(scratch))


def install(package: str, target: Path, wheels: Path) -> None:
    """Install a package and its dependencies for this Python and this processor."""
    platforms = [f"--platform=manylinux{tag}_{MACHINE}" for tag in ("2014", "_2_17", "_2_28")]
    chosen = ("--implementation=cp", f"--python-version={VERSION}", "--only-binary=:all:", *platforms)
    places = (f"--find-links={wheels}", f"--target={target}")
    run(sys.executable, "-m", "pip", "install", "-q", "--no-compile", *places, *chosen, package)


def sizes(*folders: Path) -> tuple[float, float]:
    """Return the megabytes of folders, unpacked and as the ZIP files that are uploaded."""
    unpacked = sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
    zipped = 0
    for folder in folders:
        with tempfile.NamedTemporaryFile(suffix=".zip") as archive:
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as package:
                for file in sorted(folder.rglob("*")):
                    package.write(file, file.relative_to(folder))
            zipped += Path(archive.name).stat().st_size
    return unpacked / 1e6, zipped / 1e6


def import_ms(program: str, folders: Sequence[Path], repeats: int) -> float:
    """Return the minimum milliseconds of a program's imports in a new process that writes no compiled modules."""
    command = (sys.executable, "-I", "-S", "-B", "-c", TIMED, program, *folders)
    run(*command)  # loads the files into the system's cache
    return min(float(run(*command)) for _ in range(repeats))


def compile_all(*folders: Path) -> None:
    """Compile every module, as the makefiles do."""
    for folder in folders:
        run(sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", folder)


def measured(name: str, program: str, uploaded: Sequence[Path], path: Sequence[Path], repeats: int) -> dict[str, Any]:
    """Return a row of the table for uploaded folders and an import path."""
    uncompiled = import_ms(program, path, repeats)
    compile_all(*path)
    unpacked, zipped = sizes(*uploaded)
    return {
        "package": name,
        "zipped MB": zipped,
        "unpacked MB": unpacked,
        "import ms": import_ms(program, path, repeats),
        "not compiled ms": uncompiled,
    }


def versions(folder: Path) -> dict[str, str]:
    """Return the installed versions of the packages in ``NAMED``."""
    installed = (file.name.removesuffix(".dist-info").split("-", 1) for file in folder.rglob("*.dist-info"))
    known = {name.lower().replace("_", "-"): version for name, version in installed}
    return {name: known[name] for name in NAMED}


@table()
def package_size(*, repeats: Annotated[int, "processes for each time"] = 15) -> dict[str, Any]:
    """Build the packages, and measure their sizes and imports."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", f"--wheel-dir={folder / 'wheels'}", ROOT)
        rows = []
        make("build-DependenciesLayer", folder / "layer")
        layer = folder / "layer" / "python"
        for function, program in FUNCTIONS.items():
            make(f"build-{function}", folder / function)
            path = (folder / function, layer)
            rows.append(measured(f"{function}, outside the layer", program, path[:1], path, repeats))
            for compiled in layer.rglob("__pycache__"):
                for file in compiled.iterdir():
                    file.unlink()
        compile_all(layer)
        unpacked, zipped = sizes(folder / "layer")
        nothing = {"import ms": None, "not compiled ms": None}
        rows.append({"package": "DependenciesLayer", "zipped MB": zipped, "unpacked MB": unpacked, **nothing})
        for number, (package, program) in enumerate(EXTRAS.items()):
            target = folder / f"extra-{number}"
            install(package, target, folder / "wheels")
            rows.append(measured(package, program, (target,), (target,), repeats))
        return {"results": rows, "packages": versions(folder)}


if __name__ == "__main__":
    main(package_size)
