//! Rules: parsing returns, and whoever asks gets an answer; a name that is no level never widens what is allowed.

use mqttd::auth::rules::{Action, Rules};
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
            ask(&rules, Recipient { client_id: &client_id, user }, topic);
        }
    }
}

fn ask(rules: &Rules, subject: Recipient<'_>, topic: &str) {
    if let Some(name) = TopicName::new(topic.to_owned().into()) {
        let publish = rules.topic(subject, Action::Publish, &name);
        assert!(publish.allowed || publish.line.is_none_or(|line| line > 0));
        let receive = rules.topic(subject, Action::Subscribe, &name);
        // A filter without wildcards is a topic: both are decided alike.
        if let Some(filter) = TopicFilter::new(topic).filter(|filter| !filter.has_wildcard()) {
            assert_eq!(rules.filter(subject, &filter), receive);
        }
    } else if let Some(filter) = TopicFilter::new(topic) {
        rules.filter(subject, &filter);
    }
}
