//! The Pub/Sub connection: bells and kicks of the Sessions here, posts at QoS 0, versions that others have applied.
//!
//! It is always read, for what is not read in time is lost: nothing here waits for room in the news.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use redis::{Msg, cmd};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};

use super::core::{Core, pause};
use super::deaf::DEAF;
use super::encoding;
use crate::packet::connect::ClientId;
use crate::session::state::Epoch;
use crate::store::StoreError;
use crate::store::cluster::{News, NodeId};
use crate::store::redis::keys::unescape;
use crate::store::redis::link::apart::Subscriber;
use crate::store::redis::link::error::LinkError;
use crate::store::redis::reply;

/// Channels in one SUBSCRIBE.
const CHANNELS_MAX: usize = 1000;

/// Bells in one batch: a large fan-out does not keep others waiting, nor miss its deadline as a whole.
const RINGS_MAX: usize = 1000;

/// Kicks that wait for room in the news; those beyond are told as bells that are lost.
const KICKS_MAX: usize = 1024;

/// What is asked of the connection.
#[derive(Debug)]
pub(super) enum Ask {
    /// Answered when Redis has confirmed it.
    Listen(String, oneshot::Sender<()>),
    Unlisten(String),
}

/// Asks that wait for the connection.
pub(super) const ASKS_MAX: usize = 1024;

impl Core {
    pub(super) async fn listen(&self, client_id: &ClientId) -> Result<(), StoreError> {
        let channel = self.keys.bell(client_id);
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.asks.send(Ask::Listen(channel.clone(), answer)).await.ok()?;
            answered.await.ok()
        };
        match timeout(self.settings.listen_deadline, asked).await {
            Ok(Some(())) => Ok(()),
            Ok(None) | Err(_) => Err(StoreError::Unavailable),
        }
    }

    pub(super) async fn unlisten(&self, client_id: &ClientId) {
        let _ = self.asks.send(Ask::Unlisten(self.keys.bell(client_id))).await; // without its task nothing is listened to
    }

    pub(super) async fn ring(&self, clients: Vec<ClientId>) -> Result<(), StoreError> {
        let now = Instant::now();
        let clients: HashSet<_> = clients.into_iter().filter(|client_id| self.deaf.hears(client_id, now)).collect();
        self.ring_now(clients.into_iter().collect()).await
    }

    async fn ring_now(&self, clients: Vec<ClientId>) -> Result<(), StoreError> {
        let ring = |client_id: &ClientId| cmd("PUBLISH").arg(self.keys.bell(client_id)).arg("").take();
        for clients in clients.chunks(RINGS_MAX) {
            let heard = self.write("bells", clients.iter().map(ring).collect()).await?;
            let now = Instant::now();
            for (client_id, heard) in clients.iter().zip(heard) {
                self.deaf.note(client_id, reply::number(&heard)?, now);
            }
        }
        if !self.deaf.is_empty() {
            self.owes_bells.notify_one();
        }
        Ok(())
    }

    pub(super) async fn kick(&self, client_id: &ClientId, epoch: Epoch) -> Result<(), StoreError> {
        let kick = cmd("PUBLISH").arg(self.keys.bell(client_id)).arg(&epoch.to_be_bytes()[..]).take();
        self.write(client_id.as_str(), vec![kick]).await.map(drop)
    }
}

/// Rings the bells that were left out, once for each Session.
pub(super) async fn ring_late(core: Arc<Core>) {
    loop {
        core.owes_bells.notified().await;
        let mut ticks = interval(DEAF / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !core.deaf.is_empty() {
            ticks.tick().await;
            let owed = core.deaf.owed(Instant::now());
            if !owed.is_empty() && core.ring_now(owed.clone()).await.is_err() {
                // Whoever has opened one of them meanwhile has to look by itself.
                owed.iter().for_each(|client_id| core.deaf.owe(client_id, Instant::now()));
            }
        }
    }
}

/// The connection's task.
pub(super) struct Ear {
    core: Arc<Core>,
    asks: mpsc::Receiver<Ask>,
    /// Channels, and how many Sessions here listen to each: for a moment both the old and the new owner may.
    listening: HashMap<String, usize>,
    /// To be answered when all channels are subscribed.
    waiting: Vec<oneshot::Sender<()>>,
    late: Late,
}

/// News that found no room.
#[derive(Debug, Default)]
struct Late {
    bells_lost: bool,
    kicks: VecDeque<News>,
}

impl Late {
    fn is_empty(&self) -> bool {
        !self.bells_lost && self.kicks.is_empty()
    }

    fn pop(&mut self) -> Option<News> {
        if std::mem::take(&mut self.bells_lost) { Some(News::BellsLost) } else { self.kicks.pop_front() }
    }
}

impl Ear {
    pub(super) fn new(core: Arc<Core>, asks: mpsc::Receiver<Ask>) -> Ear {
        Ear { core, asks, listening: HashMap::new(), waiting: Vec::new(), late: Late::default() }
    }

    /// The first connection: a node that cannot hear does not begin.
    pub(super) async fn open(&mut self) -> Result<Subscriber, LinkError> {
        let mut subscriber = self.core.link.subscriber().await?;
        let own = [self.core.keys.applied(), self.core.keys.posts(&self.core.node)];
        subscriber.subscribe(&own[..]).await?;
        let channels: Vec<_> = self.listening.keys().collect();
        for channels in channels.chunks(CHANNELS_MAX) {
            subscriber.subscribe(channels).await?;
        }
        self.waiting.drain(..).for_each(confirm);
        Ok(subscriber)
    }

    pub(super) async fn run(mut self, mut subscriber: Subscriber) {
        loop {
            if let Err(error) = self.serve(&mut subscriber).await {
                tracing::debug!(%error, "the connection for Pub/Sub is lost");
            }
            subscriber = self.reopen().await;
            self.late.bells_lost = true;
        }
    }

    async fn reopen(&mut self) -> Subscriber {
        loop {
            // Those who ask are waited for here, not there: they must not fill the channel and hold each other up.
            while let Ok(ask) = self.asks.try_recv() {
                self.change(ask, &mut Changes::default());
            }
            match self.open().await {
                Ok(subscriber) => return subscriber,
                Err(_) => pause().await,
            }
        }
    }

    /// Returns when the connection is of no use any more.
    async fn serve(&mut self, subscriber: &mut Subscriber) -> Result<(), LinkError> {
        let (news, mut pings, mut dropped) = (self.core.news.clone(), self.pings(), 0);
        let mut state = self.core.link.watch();
        let mut generation = state.borrow_and_update().generation;
        loop {
            tokio::select! {
                message = subscriber.next() => match message {
                    Some(message) => self.hear(&message),
                    None => return Err(LinkError::Unknown),
                },
                Some(ask) = self.asks.recv() => self.obey(ask, subscriber).await?,
                Ok(room) = news.reserve(), if !self.late.is_empty() => {
                    if let Some(news) = self.late.pop() {
                        room.send(news);
                    }
                }
                Ok(()) = state.changed() => {}
                // It is subscribed already; whether Redis answers is what matters.
                _ = pings.tick() => subscriber.subscribe(self.core.keys.applied()).await?,
            }
            // In a Redis Cluster what is published at one primary is heard at another, unless the first dies between.
            if state.borrow_and_update().generation != generation {
                generation = state.borrow().generation;
                self.late.bells_lost = true;
            }
            if subscriber.dropped() != dropped {
                dropped = subscriber.dropped();
                self.late.bells_lost = true; // among others
            }
        }
    }

    fn pings(&self) -> Interval {
        let mut pings = interval(self.core.settings.beat);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings
    }

    /// Does what is asked, with all that was asked meanwhile, in one step for each kind.
    async fn obey(&mut self, ask: Ask, subscriber: &mut Subscriber) -> Result<(), LinkError> {
        let mut changes = Changes::default();
        let mut next = Some(ask);
        while let Some(ask) = next {
            self.change(ask, &mut changes);
            let is_full = changes.added.len().max(changes.removed.len()) >= CHANNELS_MAX;
            next = if is_full { None } else { self.asks.try_recv().ok() };
        }
        if !changes.added.is_empty() {
            subscriber.subscribe(changes.added.into_iter().collect::<Vec<_>>()).await?;
        }
        self.waiting.drain(..).for_each(confirm);
        if !changes.removed.is_empty() {
            subscriber.unsubscribe(changes.removed.into_iter().collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    fn change(&mut self, ask: Ask, changes: &mut Changes) {
        match ask {
            Ask::Listen(channel, answer) => {
                self.waiting.push(answer);
                let sessions = self.listening.entry(channel.clone()).or_default();
                *sessions += 1;
                if *sessions == 1 && !changes.removed.remove(&channel) {
                    changes.added.insert(channel);
                }
            }
            Ask::Unlisten(channel) => {
                let Some(sessions) = self.listening.get_mut(&channel) else { return };
                *sessions -= 1;
                if *sessions == 0 {
                    self.listening.remove(&channel);
                    if !changes.added.remove(&channel) {
                        changes.removed.insert(channel);
                    }
                }
            }
        }
    }

    fn hear(&mut self, message: &Msg) {
        let (channel, payload) = (message.get_channel_name(), message.get_payload_bytes());
        if let Some(client) = self.core.keys.rung(channel) {
            // It may be unlistened already, and Redis not know it yet.
            if self.listening.contains_key(channel) {
                self.ring(ClientId::new(&unescape(client)), payload);
            }
        } else if channel == self.core.keys.applied() {
            self.note_applied(payload);
        } else {
            self.hand_over(payload);
        }
    }

    fn ring(&mut self, client_id: ClientId, payload: &[u8]) {
        let Ok(epoch) = payload.try_into().map(Epoch::from_be_bytes) else {
            if let Err(TrySendError::Full(_)) = self.core.news.try_send(News::Bell(client_id)) {
                self.late.bells_lost = true;
            }
            return;
        };
        let kick = News::Kick { client_id, epoch };
        if let Err(TrySendError::Full(kick)) = self.core.news.try_send(kick) {
            if self.late.kicks.len() < KICKS_MAX {
                self.late.kicks.push_back(kick);
            } else {
                self.late.bells_lost = true;
            }
        }
    }

    fn note_applied(&self, payload: &[u8]) {
        let Some((version, node)) = payload.split_first_chunk() else { return };
        if let Ok(node) = std::str::from_utf8(node) {
            self.core.peers.send_modify(|peers| peers.hear(NodeId::new(node), u64::from_be_bytes(*version)));
        }
    }

    fn hand_over(&self, payload: &[u8]) {
        let Some(posts) = encoding::take_posts(Bytes::copy_from_slice(payload)) else {
            tracing::error!("a batch of posts at QoS 0 is not understood");
            return;
        };
        let count = posts.len();
        if let Err(TrySendError::Full(_)) = self.core.news.try_send(News::Posts(posts)) {
            self.core.drop_posts(count);
        }
    }
}

/// What differs from what is subscribed.
#[derive(Debug, Default)]
struct Changes {
    added: HashSet<String>,
    removed: HashSet<String>,
}

fn confirm(answer: oneshot::Sender<()>) {
    let _ = answer.send(()); // who does not wait any more unlistens
}
