//! `mqttd completions SHELL`: what a shell needs to complete our commands and flags.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Arguments, Failure, print};

#[derive(Args, Debug)]
pub(super) struct CompletionsArguments {
    /// For this shell
    shell: Shell,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  mqttd completions bash > /etc/bash_completion.d/mqttd
  mqttd completions zsh > ~/.zfunc/_mqttd
  mqttd completions fish > ~/.config/fish/completions/mqttd.fish";

pub(super) fn run(arguments: &CompletionsArguments) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "mqttd", &mut text);
    print(&String::from_utf8_lossy(&text))
}
