"""``odibictl completion``: what the shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from odibi_actors.cli.base import Command

VARIABLE = "_ODIBICTL_COMPLETE"


@click.command(
    cls=Command,
    examples=[
        "odibictl completion bash > ~/.local/share/bash-completion/completions/odibictl",
        'eval "$(odibictl completion zsh)"',
        "odibictl completion fish > ~/.config/fish/completions/odibictl.fish",
    ],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    found = get_completion_class(shell)
    assert found is not None
    root = ctx.find_root().command
    # Not source(): for bash it asks the installed bash for its version first, and printing a script needs no shell.
    script = found(root, {}, "odibictl", VARIABLE)
    click.echo(script.source_template % script.source_vars())
