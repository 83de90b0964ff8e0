//! The command line: what may be written there, and the one place that turns an outcome into an exit code.

mod acl;
mod check;
mod client;
mod completions;
mod config;
mod control;
mod healthcheck;
mod http;
mod log;
mod otlp;
mod passwd;
mod publish;
mod reload;
mod run;
mod signals;
mod store;
mod subscribe;
mod trace;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::ConfigErrors;

/// What a command came to when it did not come to a good end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration or the command line is wrong: exit code 2.
    Usage(String),
    /// Something went wrong while it ran: exit code 1.
    Runtime(String),
}

impl Failure {
    fn text(&self) -> &str {
        match self {
            Failure::Usage(text) | Failure::Runtime(text) => text,
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Failure {
        Failure::Usage(errors.to_string())
    }
}

const EXAMPLES: &str = "\
Examples:
  mqttd                                   a broker on 127.0.0.1:1883, its Store in memory
  mqttd --listen tcp://:1883              for other machines too
  mqttd --listen tls://:8883 --listen wss://:8084 --listen quic://:14567 --tls-certificate cert.pem --tls-key key.pem
  mqttd sub -t 'hello/#' -v               in a second terminal: print what arrives
  mqttd pub -t hello/world -m hi          in a third one: say hello
  mqttd config > mqttd.toml               a file with every option to start from
  mqttd check -c mqttd.toml               is the file right, and what holds?

Every key of the file is also a variable: limits.packet_bytes_max is MQTTD_LIMITS__PACKET_BYTES_MAX.
Flags win over variables, variables over the file. Ports: 1883 MQTT over TCP, 8883 TLS, 8083 WebSocket and 8084 over TLS
(/mqtt), 14567 QUIC.
Exit codes: 0 a clean end, 1 something failed while running, 2 the command line or the configuration is wrong.";

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit    ",
    env!("MQTTD_BUILT_FROM"),
    "\nbuilt by  ",
    env!("MQTTD_BUILT_BY"),
    "\nTLS       rustls, with ring as its crypto provider",
);

/// An MQTT 3.1, 3.1.1 and 5.0 broker. Without a command it runs the broker.
#[derive(Debug, Parser)]
#[command(name = "mqttd", version, long_version = VERSION, after_help = EXAMPLES, args_conflicts_with_subcommands = true, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker (as without any command)
    #[command(alias = "serve")]
    Run(run::RunArguments),
    /// Say whether the configuration is right, and where each value comes from
    #[command(alias = "check-config")]
    Check(run::RunArguments),
    /// Print every option with its help and default, as a file to start from
    Config,
    /// Ask a node whether it is ready: exit code 0 when it is, 1 when not
    Healthcheck(healthcheck::HealthcheckArguments),
    /// Set or remove the password of a user in a password file
    #[command(after_help = passwd::EXAMPLES)]
    Passwd(passwd::PasswdArguments),
    /// Try rules: may this client do that?
    Acl(acl::AclArguments),
    /// Print what a shell needs to complete commands and flags
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::CompletionsArguments),
    /// Show the nodes of the cluster and how they are
    Status(control::StatusArguments),
    /// List the clients that are connected
    Clients(control::ClientsArguments),
    /// Disconnect a client; its session stays, and it may come back
    Kick(control::KickArguments),
    /// Shut out a client, a user or addresses, at every node
    Ban(control::BanArguments),
    /// Let somebody in again who was shut out
    Unban(control::UnbanArguments),
    /// List who is shut out
    Bans(control::BansArguments),
    /// Send the clients of a node away and let it take no more, until it ends
    Drain(control::DrainArguments),
    /// Spread the clients over the nodes: those that have more than their share send the rest away
    Rebalance(control::RebalanceArguments),
    /// Follow what becomes of messages, on all nodes, until it is ended
    Trace(trace::TraceArguments),
    /// List the Sessions in Redis, connected or not
    Sessions(store::SessionsArguments),
    /// Show one Session in Redis: its state, its subscriptions, its queue
    Inspect(store::InspectArguments),
    /// Look for keys in Redis that nobody has: exit code 1 when there are some
    Fsck(store::FsckArguments),
    /// Publish messages
    #[command(name = "pub", after_help = publish::EXAMPLES)]
    Publish(publish::PublishArguments),
    /// Subscribe and print what arrives
    #[command(name = "sub", after_help = subscribe::EXAMPLES)]
    Subscribe(subscribe::SubscribeArguments),
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    match Arguments::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(text)) => fail(&text, 2),
        Err(Failure::Runtime(text)) => fail(&text, 1),
    }
}

impl Arguments {
    fn run(self) -> Result<(), Failure> {
        match self.command.unwrap_or(Command::Run(self.run)) {
            Command::Run(arguments) => run::run(&arguments),
            Command::Check(arguments) => check::run(&arguments),
            Command::Config => config::run(),
            Command::Healthcheck(arguments) => healthcheck::run(&arguments),
            Command::Passwd(arguments) => passwd::run(&arguments),
            Command::Acl(arguments) => acl::run(&arguments),
            Command::Completions(arguments) => completions::run(&arguments),
            Command::Status(arguments) => control::status(&arguments),
            Command::Clients(arguments) => control::clients(&arguments),
            Command::Kick(arguments) => control::kick(&arguments),
            Command::Ban(arguments) => control::ban(&arguments),
            Command::Unban(arguments) => control::unban(&arguments),
            Command::Bans(arguments) => control::bans(&arguments),
            Command::Drain(arguments) => control::drain(&arguments),
            Command::Rebalance(arguments) => control::rebalance(&arguments),
            Command::Trace(arguments) => trace::run(&arguments),
            Command::Sessions(arguments) => store::sessions(&arguments),
            Command::Inspect(arguments) => store::inspect(&arguments),
            Command::Fsck(arguments) => store::fsck(&arguments),
            Command::Publish(arguments) => publish::run(&arguments),
            Command::Subscribe(arguments) => subscribe::run(&arguments),
        }
    }
}

fn fail(text: &str, code: u8) -> ExitCode {
    text.lines().for_each(|line| eprintln!("mqttd: {line}"));
    ExitCode::from(code)
}

/// Writes to standard output; that nobody reads on (`mqttd config | head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::Runtime(format!("standard output: {error}"))),
        _ => Ok(()),
    }
}
