"""docs/cli.md says what the command line has: no command, option or exit code more or less."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from celery_recovery.cli import EXIT_CODES, recovery
from celery_recovery.cli.failures import ExitCode
from celery_recovery.cli.filters import FILTER_NAMES, filter_options
from celery_recovery.cli.parked_filters import PARKED_FILTER_NAMES, parked_filter_options
from celery_recovery.dead_letters.filter import Filter
from celery_recovery.dead_letters.state import LetterState
from celery_recovery.parking import ParkedFilter

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text("utf-8")
#: Heading of each section -> its text.
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}


def commands(group: click.Group, words: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command below a group, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{words}{name} ")
        else:
            yield f"{words}{name}", command


def spellings(command: click.Command) -> set[str]:
    """All options of a command, in every spelling."""
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    return {spelling for option in options for spelling in (*option.opts, *option.secondary_opts)}


def documented(section: str) -> set[str]:
    """The options in the first column of a section's tables."""
    cells = re.findall(r"^\| (.*?) \|", SECTIONS[section], re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"(?<![\w-])--?[a-z][\w-]*", cell)}


COMMANDS = dict(commands(recovery))
FILTER = spellings(click.command()(filter_options(lambda: None)))
PARKED_FILTER = spellings(click.command()(parked_filter_options(lambda: None)))


def test_every_command_has_its_section() -> None:
    """And its line in the table at the top."""
    headings = {heading for heading in SECTIONS if heading[0].islower()}  # a command's name; prose begins otherwise
    assert headings == set(COMMANDS)
    assert set(re.findall(r"^\| \[`(.*?)`\]", PAGE, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_is_documented(words: str) -> None:
    """The options of a command are those of its section, and the filter's where it takes one."""
    options = spellings(COMMANDS[words])
    if "[FILTER]" in SECTIONS[words]:
        assert options >= FILTER
        options -= FILTER
    if "[PARKED FILTER]" in SECTIONS[words]:
        assert options >= PARKED_FILTER
        assert documented("parked list") >= PARKED_FILTER
        options -= PARKED_FILTER
    assert options == documented(words) - (PARKED_FILTER if words == "parked list" else set())


def test_the_filter_is_documented() -> None:
    """All of its options, and no others."""
    assert documented("Filter") == FILTER


def test_the_filter_has_an_option_for_all_that_a_filter_asks() -> None:
    """What `Filter` knows can be asked for on the command line."""
    names = {"ids": "id", "args": "arg"}
    assert {names.get(name, name) for name in Filter.__slots__} == set(FILTER_NAMES)


def test_the_filter_for_parked_tasks_has_an_option_for_all_that_it_asks() -> None:
    """What `ParkedFilter` knows can be asked for on the command line."""
    assert {{"ids": "id"}.get(name, name) for name in ParkedFilter.__slots__} == set(PARKED_FILTER_NAMES)


def test_exit_codes_are_the_same_everywhere() -> None:
    """In the code, in the help and in the reference."""
    codes = {int(code) for code in ExitCode}
    assert {int(code) for code in re.findall(r"^  (\d+) ", EXIT_CODES, re.MULTILINE)} == codes
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", SECTIONS["Exit codes"], re.MULTILINE)} == codes


def test_states_are_documented() -> None:
    """Every state that a letter can be in."""
    assert (
        re.findall(r"^\| `(\w+)` \|", SECTIONS["States"], re.MULTILINE)
        == [*("failed", "review", "retry", "replayed", "recovered", "discarded")]
        == [state.value for state in LetterState]
    )


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_says_what_it_is_for(words: str) -> None:
    """Help for each option, and a sentence for the command."""
    command = COMMANDS[words]
    assert command.help
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name
