//! Rules: parsing returns, and whoever asks gets an answer; a name that is no level never widens what is allowed.

use mqttd::auth::rules::{Action, Decision, Rules};
use mqttd::hook::{KnownUser, Recipient};
use mqttd::packet::connect::ClientId;
use mqttd::topic::filter::TopicFilter;
use mqttd::topic::name::TopicName;

/// The last line asks, the others are rules.
pub fn hold(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let (text, topic) = input.rsplit_once('\n').unwrap_or((input, "a/b"));
    let Ok(rules) = text.parse::<Rules>() else { return };
    for id in ["", "c", "+", "#", "a/b"] {
        let client_id = ClientId::new(id);
        for user in [KnownUser::No, KnownUser::Yes(None), KnownUser::Yes(Some("ann")), KnownUser::Yes(Some(id))] {
            let decisions = ask(&rules, Recipient { client_id: &client_id, user }, topic);
            // Neither name can stand for a level: what such a line alone would allow is not allowed.
            if id != "c" && matches!(user, KnownUser::Yes(name) if name.is_none_or(|name| name == id)) {
                let lines = decisions.iter().filter(|decision| decision.allowed).filter_map(|decision| decision.line);
                lines.for_each(|line| {
                    assert!(!is_for_names_alone(text.lines().nth(line - 1).unwrap_or_default()), "line {line} for {id:?}")
                });
            }
        }
    }
}

/// Whether it allows, and every filter of it has a name in it.
fn is_for_names_alone(line: &str) -> bool {
    let mut words = line.split_whitespace().filter(|word| !word.starts_with("qos=") && !word.starts_with("retain="));
    let allows = words.next() == Some("allow") && matches!(words.next(), Some("publish" | "subscribe" | "all"));
    allows && words.map(|filter| filter.replace("%%", "")).all(|filter| filter.contains("%c") || filter.contains("%u"))
}

fn ask(rules: &Rules, subject: Recipient<'_>, topic: &str) -> Vec<Decision> {
    if let Some(name) = TopicName::new(topic.to_owned().into()) {
        let publish = rules.topic(subject, Action::Publish, &name);
        let receive = rules.topic(subject, Action::Subscribe, &name);
        // A filter without wildcards is a topic: both are decided alike.
        if let Some(filter) = TopicFilter::new(topic).filter(|filter| !filter.has_wildcard()) {
            assert_eq!(rules.filter(subject, &filter), receive);
        }
        vec![publish, receive]
    } else {
        TopicFilter::new(topic).map(|filter| rules.filter(subject, &filter)).into_iter().collect()
    }
}
