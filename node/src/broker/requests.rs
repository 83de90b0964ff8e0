//! Messages that somebody else than subscribers answers.

use crate::broker::{Broker, Member};
use crate::hook::client::Client;
use crate::hook::request::{self, Admission, Asked, Refusal};
use crate::message::{Message, Run};
use crate::packet::reason::Reason;
use crate::time::Time;
use crate::topic::name::TopicName;

impl Broker {
    /// The requests of a run that are taken, and whether each is routed too. Why the run is refused: a request is a run of its own.
    pub(super) fn admit(&self, member: &Member, run: &Run, now: Time) -> Result<Vec<(Asked, bool)>, Reason> {
        let Some(requests) = self.requests.get() else { return Ok(Vec::new()) };
        let client = &member.client;
        let mut taken = Vec::new();
        for message in run.messages().iter().filter(|message| request::concerns(message)) {
            match requests.admit(client, message, now) {
                Admission::Pass => {}
                Admission::Refuse(reason) => return Err(reason),
                Admission::Take { route } => {
                    self.may_be_answered(client, message)?;
                    taken.push((Asked { client: client.clone(), message: message.clone(), matched: false }, route));
                }
            }
        }
        Ok(taken)
    }

    /// Whoever answers publishes to the Response Topic in the name of this Server: what the Client may not do itself is not done for it.
    fn may_be_answered(&self, client: &Client, message: &Message) -> Result<(), Reason> {
        let Some(topic) = message.properties.as_deref().and_then(|properties| properties.response_topic.clone()) else { return Ok(()) };
        let topic = TopicName::new(topic).ok_or(Reason::TOPIC_NAME_INVALID)?;
        if topic.is_system() {
            return Err(Reason::NOT_AUTHORIZED);
        }
        self.guard.publish(client, &topic).map(drop)
    }

    /// Gives requests to whoever answers them.
    pub(super) async fn take_requests(&self, asked: Vec<(usize, Asked)>, now: Time) -> Vec<(usize, Result<(), Refusal>)> {
        let Some(requests) = self.requests.get().filter(|_| !asked.is_empty()) else { return Vec::new() };
        let (origins, asked): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        origins.into_iter().zip(requests.take(asked, now).await).collect()
    }
}
