"""``sup completion``: the script that makes a shell complete ``sup``."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


EPILOG = """
\b
Exit codes:
  0  printed
  2  no script for that shell
"""


@click.command(epilog=EPILOG)
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash:  sup completion bash > ~/.local/share/bash-completion/completions/sup
    zsh:   sup completion zsh > "${fpath[1]}/_sup"
    fish:  sup completion fish > ~/.config/fish/completions/sup.fish
    """
    from click.shell_completion import get_completion_class

    from sup.cli import cli

    found = get_completion_class(shell)
    assert found is not None
    complete = found(cli, {}, "sup", "_SUP_COMPLETE")
    # source() of bash asks the installed bash for its version first; the script alone is wanted
    # here.
    click.echo(complete.source_template % complete.source_vars())
