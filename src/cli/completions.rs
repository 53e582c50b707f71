//! `mediaforge completions`

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Exit, output};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mediaforge completions bash > ~/.local/share/bash-completion/completions/mediaforge
  mediaforge completions zsh > \"${fpath[1]}/_mediaforge\"
  mediaforge completions fish > ~/.config/fish/completions/mediaforge.fish")]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mediaforge", &mut script);
    output::bytes(&script)?;
    Ok(Exit::Done)
}
