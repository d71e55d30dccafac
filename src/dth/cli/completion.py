"""`dth completion`: what a shell needs to complete commands and options."""

import click
from click.shell_completion import get_completion_class

VARIABLE = "_DTH_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion of commands and options for a shell.

    \b
    bash: dth completion bash > ~/.local/share/bash-completion/completions/dth
    zsh:  dth completion zsh > "${fpath[1]}/_dth"
    fish: dth completion fish > ~/.config/fish/completions/dth.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "dth", VARIABLE).source(), nl=False)
