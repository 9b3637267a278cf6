"""The command line: every command parses, calls one function and prints. Each is imported when it is called."""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

import mvit2_search
from mvit2_search.cli.output import escape_unencodable, explain, give_up_broken_output, say
from mvit2_search.errors import MVit2SearchError, StorageError
from mvit2_search.system.registry import Entry, Registry
from mvit2_search.system.text import printable

COMMANDS: Registry[Entry[click.Command]] = Registry(
    "command",
    {
        "run": Entry("mvit2_search.cli.run:run"),
        "status": Entry("mvit2_search.cli.read:status"),
        "report": Entry("mvit2_search.cli.read:report"),
        "export": Entry("mvit2_search.cli.export:export"),
        "train": Entry("mvit2_search.cli.train:train"),
        "evaluate": Entry("mvit2_search.cli.evaluate:evaluate"),
        "devices": Entry("mvit2_search.cli.measure:devices"),
        "measure": Entry("mvit2_search.cli.measure:measure"),
        "profile": Entry("mvit2_search.cli.check:profile"),
        "verify": Entry("mvit2_search.cli.check:verify"),
        "validate": Entry("mvit2_search.cli.check:validate"),
        "proxy": Entry("mvit2_search.cli.proxy:proxy"),
        "bench": Entry("mvit2_search.cli.bench:bench"),
    },
)


class Program(click.Command):
    """A command whose errors, this package's and the system's, are one line and an exit code."""

    def main(self, *args: Any, **extra: Any) -> Any:
        # Else torch makes a folder in the temporary one for what it compiles, which is nothing here.
        # The package's own folder is there, and whoever may write to it may change the program anyway.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(mvit2_search.__file__).parent))
        escape_unencodable()
        try:
            return super().main(*args, **extra)
        except OSError as err:
            broken = give_up_broken_output() if err.filename is None else None
            what = f"{broken}: cannot be written" if broken else err.filename
            try:
                say(f"error: {': '.join(str(text) for text in (what, err.strerror or err) if text)}", err=True)
            except OSError:
                give_up_broken_output()  # both are
            sys.exit(StorageError.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MVit2SearchError as err:
            explain(f"error: {err}", err=True)
            ctx.exit(err.exit_code)
        except click.UsageError as err:
            text = printable(err.format_message(), keep="\n\t")  # it lists choices on lines of their own
            raise click.UsageError(text, err.ctx) from err
        except KeyboardInterrupt:  # before or after a search, which has its own way to stop
            say("Stopped.", err=True)
            ctx.exit(130)


class LazyGroup(Program, click.Group):
    """Imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return COMMANDS[cmd_name].load() if cmd_name in COMMANDS else None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("mvit2-search"), prog_name="mvit2-search")
def cli() -> None:
    """Find the most accurate MobileViTv2-style network within a latency budget.

    \b
    Example:
        mvit2-search run --space blocks --data fashion-mnist-mini \\
            --latency-budget mobilevitv2-0.75 --trials 8 --study first
        mvit2-search export first

    \b
    Exit codes: 0 done; 1 nothing fits the budget, a check failed, or an unexpected error;
    2 wrong option or file; 3 the study is in use or was made with other inputs;
    4 data, disk or device; 130 (Ctrl-C), 143 (SIGTERM), 129 (terminal closed): stopped, state saved.
    """
