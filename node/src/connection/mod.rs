//! One task for each Network Connection: the turn.

mod authentication;
mod deciding;
mod flow;
pub mod framing;
mod handshake;
mod leaving;
pub mod places;
#[cfg(test)]
mod tests;
mod turn;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};
use tracing::Instrument;

use crate::broker::addresses::Beyond;
use crate::broker::allowance::Allowance;
use crate::broker::presence::Presence;
use crate::broker::roster::Subscriber;
use crate::broker::{Broker, Member};
use crate::hook::client::{Client, Peer};
use crate::hook::event::Publishing;
use crate::hook::hooks::Judging;
use crate::hook::welcoming::Greeting;
use crate::metrics::{Metrics, SPANS};
use crate::packet::reason::Reason;
use crate::session::connect::Request;
use crate::session::outbound::Delivery;
use crate::session::{Fault, Session};
use crate::store::StoreError;
use crate::time::{Span, Time};

use flow::Flow;
use framing::Framing;
pub use handshake::count_turned;
use places::Places;

/// Bounds of a connection.
#[derive(Clone, Debug)]
pub struct Patience {
    /// From the first byte to CONNACK.
    pub connect: Duration,
    /// Without a single byte taken by a Client for which bytes wait.
    pub write: Duration,
    /// Clients of the node; 0 is no limit.
    pub connections_max: usize,
    /// Those of its listener.
    pub places: Arc<Places>,
    /// More come than are taken, or faster: this one is told so.
    pub beyond: Option<Beyond>,
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The Client said DISCONNECT, or closed.
    Client(&'static str),
    Fault(Fault),
    Io(std::io::Error),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> End {
        End::Fault(fault)
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> End {
        End::Fault(match error {
            // Only a CONNACK may say "Server unavailable".
            StoreError::Unavailable => Fault::new(Reason::SERVER_BUSY, "the Store does not answer"),
            StoreError::Full => Fault::new(Reason::QUOTA_EXCEEDED, "the Store is full"),
        })
    }
}

/// A Client that is in, for what else it opens beside the Network Connection that it came by.
#[derive(Clone)]
pub struct Entrance {
    client: Arc<Client>,
    request: Box<Request>,
    allowance: Option<Arc<Allowance>>,
}

/// Serves one Network Connection until it ends. `is_in` is called as soon as the Client is in, or with nothing when it is not let in.
pub fn serve<S, I>(stream: S, peer: Peer, broker: Arc<Broker>, patience: Patience, is_in: I) -> impl Future<Output = ()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    I: FnOnce(Option<&Entrance>),
{
    let span = tracing::trace_span!(target: SPANS, parent: None, "connection", peer = %peer.address, transport = peer.transport.scheme());
    serve_in(stream, peer, broker, patience, is_in).instrument(span)
}

async fn serve_in<S, I>(stream: S, peer: Peer, broker: Arc<Broker>, patience: Patience, is_in: I)
where
    S: AsyncRead + AsyncWrite + Unpin,
    I: FnOnce(Option<&Entrance>),
{
    Metrics::add(&broker.metrics.sockets_total, 1);
    // A stranger is given no more memory than a CONNECT needs.
    let mut framing = Framing::new(stream, broker.settings.packet_bytes_max.min(broker.connect_bytes_max));
    let span = tracing::trace_span!(target: SPANS, "connect");
    // In a box of its own: what the handshake needs is much, and given back when it is over.
    let entered = Box::pin(handshake::enter(&mut framing, Arc::new(peer), &broker, &patience).instrument(span)).await;
    let Some((entered, entrance)) = entered else {
        is_in(None);
        return framing.count(&broker.metrics);
    };
    framing.take_up_to(broker.settings.packet_bytes_max);
    is_in(Some(&entrance));
    drop(entrance);
    if broker.tells_of_clients {
        Box::pin(broker.tell_connected(&entered.presence)).await;
    }
    let mut connection = Connection::new(framing, entered, broker, patience.write);
    let end = unless_panic(connection.turns()).await;
    Box::pin(connection.leave(end)).await;
}

/// Serves one more stream of a Client that is in: a Session of its own that ends with it, without CONNECT and CONNACK.
pub async fn serve_branch<S: AsyncRead + AsyncWrite + Unpin>(stream: S, entrance: Entrance, broker: Arc<Broker>, write_patience: Duration) {
    let framing = Framing::new(stream, broker.settings.packet_bytes_max);
    let entered = match Box::pin(handshake::enter_branch(entrance, &broker)).await {
        Ok(entered) => entered,
        Err(error) => return tracing::debug!(?error, "a data stream could not be opened"),
    };
    let mut connection = Connection::new(framing, entered, broker, write_patience);
    let end = unless_panic(connection.turns()).await;
    Box::pin(connection.leave(end)).await;
}

/// A panic, in a hook or in our own code, is the end of one connection like any other: its Session is given back.
async fn unless_panic(turns: impl Future<Output = Result<(), End>>) -> Result<(), End> {
    let mut turns = std::pin::pin!(turns);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| turns.as_mut().poll(context))) {
        Ok(poll) => poll,
        Err(_) => Poll::Ready(Err(End::Fault(Fault::new(Reason::UNSPECIFIED_ERROR, "a fault in this Server")))),
    })
    .await
}

struct Connection<S> {
    framing: Framing<S>,
    client: Arc<Client>,
    presence: Arc<Presence>,
    session: Box<Session>,
    member: Box<Member>,
    broker: Arc<Broker>,
    /// Mail that was taken and found no room yet.
    mail: std::collections::VecDeque<Delivery>,
    /// Fires at or before the next deadline; it is only moved when it fires, for a deadline moves with every packet.
    timer: Pin<Box<Sleep>>,
    /// Nothing was to do when this was last asked.
    rested: bool,
    /// For whom nothing is read, and until when at most.
    held: Option<(Arc<Subscriber>, Time)>,
    /// Since when the socket takes nothing though bytes wait.
    stalled: Option<Time>,
    /// What the Client may do has changed.
    reconsider: bool,
    /// How fast the Client may send; `None`: as fast as it can.
    flow: Option<Box<Flow>>,
    write_patience: Duration,
    authentication: Option<Box<authentication::Authentication>>,
    /// User code that sees messages of the Client.
    judging: Judging<Publishing>,
    /// A packet on which user code decides: nothing is read before it has.
    deciding: Option<Box<deciding::Deciding>>,
    /// For subscriptions of this turn, once they are granted.
    greetings: Vec<Greeting>,
    counted: Option<handshake::Counted>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(framing: Framing<S>, entered: handshake::Entered, broker: Arc<Broker>, write_patience: Duration) -> Connection<S> {
        let handshake::Entered { client, presence, session, member, authentication, counted } = entered;
        let timer = Box::pin(tokio::time::sleep_until(far(&broker)));
        let (mail, held, stalled, judging, deciding, greetings) = Default::default();
        let flow = Flow::new(member.allowance.as_ref(), broker.rates.drops);
        Connection {
            framing,
            client,
            presence,
            session,
            member,
            broker,
            mail,
            timer,
            rested: false,
            held,
            stalled,
            reconsider: false,
            flow,
            write_patience,
            authentication,
            judging,
            deciding,
            greetings,
            counted,
        }
    }

    /// Turn after turn: what woke us, what came, what the Store says to it, what goes out.
    async fn turns(&mut self) -> Result<(), End> {
        loop {
            poll_fn(|context| self.poll_wake(context)).await?;
            let now = self.broker.clock.now();
            if self.broker.fates.is_on() || self.session.is_followed() {
                self.session.follow(self.broker.fates.watches(now));
            }
            let mut end = self.take_packets(now);
            if end.is_ok() {
                end = self.take_mail(now).and_then(|()| Ok(self.session.handle_timeout(now)?)).and_then(|()| self.check_time(now));
            }
            // What came before a fault is committed and acknowledged like everything else.
            let is_lone = self.commit(now).await?;
            end?;
            if is_lone {
                // Its subscriber was woken and is to have it first: the acknowledgement is a system call, and nobody waits for it as much.
                tokio::task::yield_now().await;
            }
            if std::mem::take(&mut self.reconsider) {
                Box::pin(self.broker.reconsider_member(&mut self.member)).await?.map_or(Ok(()), Err)?;
                Box::pin(self.broker.follow_orders(&mut self.member, &mut self.session)).await?;
            }
            if !self.greetings.is_empty() {
                Box::pin(self.greet(now)).await?;
            }
            if self.broker.hooks.asks_for_deliver() && !self.mail.is_empty() {
                Box::pin(self.screen_mail(now)).await;
            }
            // In boxes, and only when there is something to read: what such a step needs is much, and most connections are quiet.
            if self.session.store_read().is_some() {
                Box::pin(self.broker.read_queue(&self.member, &self.client, &mut self.session, now)).await?;
            }
            if self.session.retained_read().is_some() {
                Box::pin(self.broker.read_retained(&self.member, &self.client, &mut self.session, now)).await?;
                // A page costs up to a millisecond even if nothing in it matches, and there can be thousands.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Writes first, then waits for whatever comes first: room in the socket, bytes, mail, or a deadline.
    fn poll_wake(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        let rested = std::mem::take(&mut self.rested);
        let waiting = self.session.outgoing().len();
        let written = self.framing.poll_flush(self.session.outgoing(), context).map_err(End::Io)?;
        self.count();
        let open = self.session.has_room();
        // A Client that takes its time takes something.
        if written.is_ready() || self.session.outgoing().len() < waiting {
            self.stalled = None;
        }
        let decided = self.poll_decided(context).is_ready();
        if decided && self.deciding.is_some() {
            return Poll::Ready(Ok(()));
        }
        // A Client that does not read what it is sent is not read from either.
        let reads = decided && self.session.keeps_up() && !self.is_held(context);
        // While a Client that sends too fast has to wait, so much is read ahead that it is seen to close.
        let takes = reads && self.paused().is_none();
        let more = !self.mail.is_empty() || self.session.store_read().is_some() || self.session.retained_read().is_some();
        if takes && self.framing.has_batch() {
            return Poll::Ready(Ok(()));
        }
        // Whatever there is to send, the socket is read too: the Client may acknowledge, ping, or have enough.
        let mut woken = open && more;
        woken |= self.member.subscriber.mailbox.poll_ready(self.member.lease.epoch, open && self.mail.is_empty(), context).is_ready();
        if (takes || reads && !self.framing.has_batch())
            && let Poll::Ready(more) = self.framing.poll_fill(context).map_err(End::Io)?
        {
            if !more {
                return Poll::Ready(Err(End::Client("closed without DISCONNECT")));
            }
            woken = true;
            if rested && self.begins_to_publish() {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        woken |= self.poll_deadline(written.is_pending(), context);
        self.rested = !woken;
        if woken { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn is_held(&mut self, context: &mut Context<'_>) -> bool {
        let Some((crowded, until)) = &self.held else { return false };
        let late = *until <= self.broker.clock.now();
        if late {
            crowded.mailbox.give_up();
        }
        if late || crowded.mailbox.poll_room(context).is_ready() {
            self.held = None;
        }
        self.held.is_some()
    }

    /// Whether a deadline has passed. The timer is moved only when it fires too early or would fire too late.
    fn poll_deadline(&mut self, stalled: bool, context: &mut Context<'_>) -> bool {
        let paused = self.paused();
        let clock = &self.broker.clock;
        if stalled && self.stalled.is_none() {
            self.stalled = Some(clock.now());
        }
        let patience = Span(self.write_patience.as_millis() as u64);
        let stalled = self.stalled.map(|since| since + patience);
        let held = self.held.as_ref().map(|(_, until)| *until);
        let decided = self.deciding.as_ref().map(|deciding| deciding.until());
        let proven = self.client.proof.until;
        let deadline = self.session.deadline().into_iter().chain(stalled).chain(held).chain(decided).chain(paused).chain(proven).min();
        let Some(deadline) = deadline.map(|deadline| clock.instant(deadline)) else { return false };
        loop {
            if self.timer.deadline() > deadline {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return false;
            }
            if Instant::now() >= deadline {
                let far = far(&self.broker);
                self.timer.as_mut().reset(far);
                return true;
            }
            self.timer.as_mut().reset(deadline);
        }
    }

    /// A socket that takes nothing has its time, and so has what the Client was believed by.
    fn check_time(&self, now: Time) -> Result<(), End> {
        let patience = self.write_patience.as_millis() as u64;
        if self.stalled.is_some_and(|since| now.since(since).0 >= patience) {
            return Err(End::Client("took no byte for too long"));
        }
        if self.client.proof.until.is_some_and(|until| until <= now) {
            Metrics::add(&self.broker.metrics.connections_expired, 1);
            return Err(Fault::new(Reason::NOT_AUTHORIZED, "what the Client came in by has expired").into());
        }
        Ok(())
    }

    /// What the Session noted, for those who follow it.
    fn tell_fates(&mut self) {
        if self.session.is_followed() {
            self.broker.fates.add(&self.session.take_notes());
        }
    }

    /// Once a turn, when what it wrote has left.
    fn count(&mut self) {
        let counts = self.session.take_counts();
        self.presence.traffic.add(&counts, self.session.outgoing().len(), self.session.in_flight());
        self.broker.metrics.add_counts(counts);
        self.framing.count(&self.broker.metrics);
    }
}

/// A moment that no connection waits for.
fn far(broker: &Broker) -> Instant {
    broker.clock.instant(broker.clock.now() + Span::seconds(365 * 24 * 3600))
}
