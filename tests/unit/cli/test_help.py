"""The help of every command, and the errors of wrong options."""

import re
import shlex
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fanfold.cli.app import COMMANDS, app

GROUP: Any = typer.main.get_command(app)
NAMES = ["", *COMMANDS]
TYPES = {"TEXT", "STR", "INTEGER", "INT", "FLOAT", "PATH", "DIR", "FILENAME", "BOOLEAN", "BOOL", "LIST", "VALUE"}


def help_of(name: str, columns: int) -> str:
    """Return the help of a command in a terminal of this width."""
    done = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": str(columns), "TERM": "dumb"})
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout


def params_of(name: str) -> list[Any]:
    """Return the options and arguments of a command."""
    command = GROUP.get_command(typer.Context(GROUP), name) if name else GROUP
    return list(command.get_params(typer.Context(command)))


def options_of(name: str) -> list[Any]:
    """Return the options of a command."""
    return [param for param in params_of(name) if param.param_type_name == "option"]


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("name", NAMES)
def test_no_option_is_cut_or_wrapped(name: str, columns: int):
    """Each is on one line with its value, and no line is wider than the terminal."""
    text = help_of(name, columns)
    assert max(map(len, text.splitlines())) <= columns
    terms = [re.split(r"  +", line[2:])[0] for line in text.splitlines() if line.startswith("│ -")]
    for option in options_of(name):
        names = " / ".join(
            [", ".join(sorted(option.opts, key=lambda name: name.startswith("--"))), *option.secondary_opts]
        )
        assert names + ("" if option.is_flag else f" {option.metavar}") in terms


@pytest.mark.parametrize("name", NAMES)
def test_values_are_named_by_what_they_are_and_flags_have_none(name: str):
    """A bare type, such as TEXT, would not help."""
    for param in params_of(name):
        is_flag = getattr(param, "is_flag", False)
        assert is_flag or (param.metavar and param.metavar.upper() not in TYPES), param.name
    assert not re.search(r"<\w+( range)?>|<list\[|BOOLEAN|\[x>|<=x", help_of(name, 80))


@pytest.mark.parametrize("name", NAMES)
def test_ranges_and_defaults_are_shown(name: str):
    """Those that are not a flag's "off"."""
    text = " ".join(line.strip("│ ") for line in help_of(name, 200).splitlines())
    for option in options_of(name):
        default = option.get_default(typer.Context(GROUP), call=False)
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert f"[default: {default:.15g}]" in text
        if isinstance(option.show_default, str):
            assert f"[default: {option.show_default}]" in text
        if getattr(option, "max", None) is not None:
            assert f"[{option.min:.15g}..{option.max:.15g}]" in text


@pytest.mark.parametrize("name", NAMES)
def test_every_help_says_what_the_command_does_and_ends_with_an_example(name: str):
    """The first paragraph is one sentence in the imperative; no markup is left over."""
    text = help_of(name, 120)
    first = text.strip().splitlines()[2].strip()
    assert re.match(r"[A-Z][a-z]+ [^.]+\.$", first)
    assert re.search(r"Example: *\n +fanfold \w+[^\n]*\n\s*$", text)
    assert not re.search(r"\[/?(bold|dim|red|green|yellow)|``", text)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_example_is_one_that_its_command_takes(name: str):
    """The command exists, and so do its options."""
    command = GROUP.get_command(typer.Context(GROUP), name)
    line = shlex.split(COMMANDS[name].example)
    assert line[: 1 + len(name.split())] == ["fanfold", *name.split()]
    assert command.make_context(name, line[1 + len(name.split()) :]).params


@pytest.mark.parametrize("name", NAMES)
def test_more_than_ten_options_are_grouped(name: str):
    """Under at least two titles, each with at most ten options."""
    titles = [option.rich_help_panel for option in options_of(name)]
    assert len(titles) <= 10 or len(set(titles)) >= 3
    assert max(map(titles.count, titles)) <= 10


def test_without_arguments_the_help_is_printed():
    """With the exit code of a usage error."""
    done = CliRunner().invoke(app, [])
    assert (done.exit_code, done.stderr) == (2, "")
    assert "Usage: fanfold [OPTIONS] COMMAND [ARGS]..." in done.stdout


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("nope", "no such command 'nope'. Run `fanfold --help` for usage."),
        ("benc", "no such command 'benc'. Did you mean 'bench'? Run `fanfold --help` for usage."),
        ("bench --repeat 3", "--repeat is not an option of this command; use --repeats. Run `fanfold bench --help` "),
        ("bench --repeats 0", "--repeats must be an integer from 1 to 100, not '0'. Run `fanfold bench --help` for "),
        ("bench --repeats=x", "--repeats must be an integer from 1 to 100, not 'x'. Run `fanfold bench --help` for "),
        ("bench --seed x", "--seed must be an integer, not 'x'. Run `fanfold bench --help` for usage."),
        ("bench --seconds 0", "--seconds must be a number from 0.1 to 600, not '0'. Run `fanfold bench --help` "),
        ("bench --csv", "--csv requires a value. Run `fanfold bench --help` for usage."),
        ("bench --search=3", "--search takes no value. Run `fanfold bench --help` for usage."),
        ("bench compare one.json", "FILE is required. Run `fanfold bench compare --help` for usage."),
        ("status", "RUN is required. Run `fanfold status --help` for usage."),
        ("replay events", "--handler MODULE:NAME is required. Run `fanfold replay --help` for usage."),
        ("run app:job --within 0", "--within must be a number of at least 1, not '0'. Run `fanfold run --help` for "),
        ("check --format yaml", "--format must be text, json or sarif, not 'yaml'. Run `fanfold check --help` for "),
        ("local --job nowhere", "--job: nowhere does not exist. Run `fanfold local --help` for usage."),
        ("env one two", "unexpected argument two: leave it out, or quote it if it belongs to the one before. Run "),
    ],
)
def test_a_wrong_option_is_one_line_that_names_it_and_the_fix(line: str, error: str):
    """On stderr, with exit code 2."""
    done = CliRunner().invoke(app, line.split())
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"fanfold: {error}")


@pytest.mark.parametrize(("arguments", "code"), [(["breaker", "--help"], 0), (["breaker"], 2)])
def test_the_first_part_of_a_name_with_two_parts_lists_its_commands(arguments: list[str], code: int, capsys: Any):
    """With what each of them does, and an example."""
    with pytest.raises(SystemExit) as ended:
        app(arguments)
    assert ended.value.code == code
    shown = capsys.readouterr().out
    assert all(f"\n  breaker {name}" in shown for name in ("status", "open", "close"))
    assert max(map(len, shown.splitlines())) <= 80
    assert "fanfold breaker status payments" in shown
