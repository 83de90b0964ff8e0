//! `mqttd acl test`: what a file of rules says to one question, and by which line.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Failure, print};
use crate::auth::rules::{Action, Decision, Rules};
use crate::hook::{KnownUser, Recipient};
use crate::packet::connect::ClientId;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;

pub(super) const EXAMPLES: &str = "\
Examples:
  mqttd acl test rules.acl --user ann publish sensors/1/temperature
  mqttd acl test rules.acl --client c1 subscribe 'devices/c1/#'
Exit codes: 0 allowed, 1 denied, 2 the rules or the question are wrong.";

#[derive(Args, Clone, Debug)]
pub(super) struct AclArguments {
    #[command(subcommand)]
    command: AclCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum AclCommand {
    /// Say what rules decide for one client, and which line does
    #[command(after_help = EXAMPLES)]
    Test(TestArguments),
}

#[derive(Args, Clone, Debug)]
struct TestArguments {
    /// The file of rules
    file: PathBuf,
    /// The Client Identifier
    #[arg(short, long, default_value = "client")]
    client: String,
    /// The User Name; without it the client has none
    #[arg(short, long)]
    user: Option<String>,
    what: What,
    /// A Topic Name to publish to or to receive from, or a Topic Filter to subscribe to
    topic: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    Publish,
    Subscribe,
    /// Whether a message of this Topic Name is given to it, whatever it subscribed to
    Receive,
}

pub(super) fn run(arguments: &AclArguments) -> Result<(), Failure> {
    let AclCommand::Test(arguments) = &arguments.command;
    let at = |fault: &dyn std::fmt::Display| Failure::Usage(format!("{}: {fault}", arguments.file.display()));
    let text = std::fs::read_to_string(&arguments.file).map_err(|error| at(&error))?;
    let rules: Rules = text.parse().map_err(|fault| at(&fault))?;
    let client_id = ClientId::new(&arguments.client);
    let subject = Recipient { client_id: &client_id, user: KnownUser::Yes(arguments.user.as_deref()) };
    let topic =
        || TopicName::new(arguments.topic.clone().into()).ok_or_else(|| Failure::Usage(format!("{:?} is no Topic Name", arguments.topic)));
    let decision = match arguments.what {
        What::Publish => rules.topic(subject, Action::Publish, &topic()?),
        What::Receive => rules.topic(subject, Action::Subscribe, &topic()?),
        What::Subscribe => {
            let filter = TopicFilter::new(&arguments.topic);
            rules.filter(subject, &filter.ok_or_else(|| Failure::Usage(format!("{:?} is no Topic Filter", arguments.topic)))?)
        }
    };
    let said = said(&decision, rules.is_empty(), &text);
    if decision.allowed || rules.is_empty() { print(&format!("{said}\n")) } else { Err(Failure::Runtime(said)) }
}

fn said(decision: &Decision, no_rules: bool, text: &str) -> String {
    let line = |number: usize| text.lines().nth(number - 1).unwrap_or_default().trim();
    match (decision.line, decision.allowed) {
        (Some(number), true) => {
            let retain = if decision.retain { "" } else { ", not retained" };
            format!("allowed up to QoS {}{retain} by line {number}: {}", decision.qos_max as u8, line(number))
        }
        (Some(number), false) => format!("denied by line {number}: {}", line(number)),
        (None, _) if no_rules => "allowed: there are no rules".to_owned(),
        (None, _) => "denied: no rule fits".to_owned(),
    }
}
