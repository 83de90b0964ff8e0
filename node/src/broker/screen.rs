//! What `on_deliver` has to say of messages on their way to a Client.
//!
//! A handler that has its answer at once costs a call. One that has to wait is waited for on the connection of that Client, which neither reads
//! nor writes meanwhile: for one message at a time, and for no longer than the deadline of user code.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::broker::Broker;
use crate::fate::{Step, Why};
use crate::hook::client::Client;
use crate::hook::event::Delivering;
use crate::hook::hooks::{self, Judging, Refused};
use crate::message::{InRun, Message, Run};
use crate::session::state::Sequence;
use crate::store::Stored;
use crate::subscription::Grant;

/// A run as far as it was screened.
pub(crate) struct Screened {
    /// What is left of it; `None`: nothing.
    pub run: Option<Arc<Run>>,
    /// A handler had to be waited for: the socket is to be looked at before more is screened.
    pub waited: bool,
}

/// What goes to the Client in place of one message.
enum Seen {
    Same,
    Other(Box<Message>),
    Nothing,
}

impl Broker {
    /// Screens the messages of a run until one has to be waited for. `take` hears of each, unless no handler wants to see them.
    async fn screen(&self, client: &Arc<Client>, messages: &[Message], mut take: impl FnMut(Seen)) -> (usize, bool) {
        let mut judging = Judging::<Delivering>::default();
        if !messages.first().is_some_and(|first| judging.begin(&first.topic, &self.hooks)) {
            return (messages.len(), false);
        }
        let begun = self.clock.now();
        for (index, message) in messages.iter().enumerate() {
            let at_once = judging.poll(message, &self.hooks, client, &mut Context::from_waker(Waker::noop()));
            let waited = at_once.is_pending();
            let passed = match at_once {
                Poll::Ready(passed) => passed,
                Poll::Pending => {
                    let answer = std::future::poll_fn(|context| judging.poll(message, &self.hooks, client, context));
                    tokio::time::timeout(self.hooks.deadline, self.watched(client, "on_deliver", answer))
                        .await
                        .unwrap_or(Err(Refused::DEADLINE))
                }
            };
            take(match passed {
                Ok(()) => judging.rewritten().map_or(Seen::Same, Seen::Other),
                Err(refused) => {
                    if refused.why != hooks::Why::Answer {
                        judging.give_up();
                    }
                    self.count_failure(client, "on_deliver", refused.why);
                    if self.fates.is_on() {
                        self.note(message, None, Some(&client.id), &Step::Dropped(Why::Withheld), self.clock.now());
                    }
                    Seen::Nothing
                }
            });
            if waited {
                return (index + 1, true);
            }
        }
        self.note_block(client, "on_deliver", begun);
        (messages.len(), false)
    }

    /// Screens a run of which nothing can be put back, but waits for no more than one message of it: it has only one.
    pub(super) async fn screen_run(&self, client: &Arc<Client>, run: &Arc<Run>) -> Screened {
        self.screen_some(client, run).await.0
    }

    /// Screens a run; with the messages that were not looked at yet.
    pub(crate) async fn screen_some(&self, client: &Arc<Client>, run: &Arc<Run>) -> (Screened, Option<Arc<Run>>) {
        let messages = run.messages();
        // What is left of it, once it is not the same any more.
        let mut kept: Option<Vec<Message>> = None;
        let mut number = 0;
        let take = |seen| {
            match seen {
                Seen::Same => kept.iter_mut().for_each(|kept| kept.push(messages[number].clone())),
                Seen::Other(message) => kept.get_or_insert_with(|| messages[..number].to_vec()).push(*message),
                Seen::Nothing => drop(kept.get_or_insert_with(|| messages[..number].to_vec())),
            }
            number += 1;
        };
        let (seen, waited) = self.screen(client, messages, take).await;
        let rest = (seen < messages.len()).then(|| Arc::new(Run::new(messages[seen..].to_vec())));
        let kept = kept.or_else(|| rest.is_some().then(|| messages[..seen].to_vec()));
        let run = match kept {
            None => Some(run.clone()),
            Some(kept) => (!kept.is_empty()).then(|| Arc::new(Run::new(kept))),
        };
        (Screened { run, waited }, rest)
    }

    /// Screens a page of the queue, in its order; with how many were asked for: as many as there are means that there may be more.
    pub(super) async fn screen_stored(
        &self,
        client: &Arc<Client>,
        stored: Vec<Stored>,
        limit: usize,
    ) -> (Vec<(Sequence, Option<InRun>, Grant)>, usize) {
        let count = stored.len();
        let mut screened = Vec::with_capacity(count);
        for Stored { sequence, message, grant } in stored {
            let mut seen = Some(message.clone());
            let (_, waited) = self
                .screen(client, std::slice::from_ref(message.message()), |one| match one {
                    Seen::Same => {}
                    Seen::Other(message) => seen = Some(InRun { run: Arc::new(Run::from(*message)), index: 0 }),
                    Seen::Nothing => seen = None,
                })
                .await;
            screened.push((sequence, seen, grant));
            if waited {
                break;
            }
        }
        let asked = if screened.len() < count { screened.len() } else { limit };
        (screened, asked)
    }
}
