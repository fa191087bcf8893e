# SPDX-License-Identifier: Apache-2.0
"""The command group: finds the command files, loads one when it is called, and maps errors to words and codes.

``edgepack --help`` imports nothing but click: a command's one-line help is the first line of its file's docstring.
"""

import importlib
import json
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from types import FrameType, TracebackType

import click

from edgepack import __version__
from edgepack.cli._go_on import builds, go_on
from edgepack.errors import EdgepackError

_FOLDER = Path(__file__).parent
INTERRUPTED = 130


class LazyGroup(click.Group):
    """Each public module of this folder is a command of the module's name, held in its ``command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the file names of this folder, less the shared ones."""
        del ctx
        return sorted(path.stem for path in _FOLDER.glob("[!_]*.py"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the one command that is called."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"edgepack.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their files' first docstring lines, importing none."""
        rows = [(name, _first_line(_FOLDER / f"{name}.py")) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Offer the nearest command names for an unknown one."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from edgepack.registry import nearest

            ctx.fail(f"no command {args[0]!r}; {nearest(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if line.startswith('"""'):
                return line.strip().strip('"')
    return ""


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edgepack")
def group() -> None:
    """Give it a trained model and a device: get the bundle that provably fits, or the exact reason why none can."""


def main() -> None:
    """Run the command line and exit: the only place that maps errors to messages and exit codes."""
    debug = "--debug" in sys.argv
    if isinstance(sys.stdout, TextIOWrapper):
        # As standard error does it: a sign that a log's encoding lacks must not end a build at its last line.
        sys.stdout.reconfigure(errors="backslashreplace")
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt_once)  # `timeout` and CI end a build by it
    if not debug:
        sys.excepthook = _report_bug
    try:
        sys.exit(group.main(standalone_mode=False))  # click hands back the code that ``ctx.exit`` was given
    except click.ClickException as error:
        error.show()
        _print_error_object("EP-002", error.format_message(), "the options are listed by --help")
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _report_interrupt()
        sys.exit(INTERRUPTED)
    except EdgepackError as error:
        if debug:
            raise
        report_error(error)
        sys.exit(error.exit_code)


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    """Interrupt as Ctrl-C does, at the first of several: ``timeout`` sends one to its child and one to the group."""
    signal.signal(number, lambda *_: None)
    signal.default_int_handler(number, frame)


def error_lines(error: EdgepackError) -> list[str]:
    """Return what failed, what to do next and where to read more."""
    following = [f"  Next: {error.hint}"] if error.hint else []
    return [f"Error {error.code}: {error.message}", *following, f"  More: edgepack explain {error.code}"]


def report_error(error: EdgepackError) -> None:
    """Print what failed and what to do next on stderr, and the error object on stdout where ``--json`` asks for it."""
    click.echo("\n".join(error_lines(error)), err=True)
    _print_error_object(error.code, error.message, error.hint)


def _report_interrupt() -> None:
    """Say that nothing was finished and, of a build, what begins it again.

    That is what was typed and no --resume more: it is refused where the run did not get into the journal.
    """
    command = go_on() if builds() else ""
    click.echo("\n".join(["interrupted", *([f"  go on: {command}"] if command else [])]), err=True)
    _print_error_object("EP-006", "interrupted before anything was finished", command)


def _print_error_object(code: str, message: str, hint: str) -> None:
    if "--json" in sys.argv:
        body = {"code": code, "message": message, "hint": hint}
        click.echo(json.dumps({"schema_version": 1, "edgepack_version": __version__, "error": body}))


def _report_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say in one line what nobody foresaw; Python ends with code 1 after this."""
    del trace
    click.echo(f"Internal error, a bug in edgepack: {kind.__name__}: {error}", err=True)
    hint = "run the same command with --debug and report what it prints"
    click.echo(f"  Next: {hint}", err=True)
    _print_error_object("EP-003", f"internal error, a bug in edgepack: {kind.__name__}: {error}", hint)
