//! From the first byte to CONNACK: may the Client come in (section 3.1).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::authentication::{Authentication, authenticate};
use super::framing::{FrameError, Framing};
use super::places::{Place, Places};
use super::{End, Entrance, Patience};
use crate::broker::addresses::Beyond;
use crate::broker::allowance::Allowance;
use crate::broker::presence::{Presence, Traffic};
use crate::broker::reconsider::LastWords;
use crate::broker::{Broker, Member};
use crate::hook::Admitted;
use crate::hook::client::{Client, Peer, Transport};
use crate::hook::hooks::Refused;
use crate::metrics::Metrics;
use crate::packet::connect::{ClientId, Connect};
use crate::packet::outgoing::Outgoing;
use crate::packet::reason::Reason;
use crate::packet::{self, Packet, Version};
use crate::session::connect::{Request, refusal};
use crate::session::{Fault, Session};
use crate::store::{Open, StoreError};

/// A Client that is in.
pub(super) struct Entered {
    pub client: Arc<Client>,
    pub presence: Arc<Presence>,
    pub session: Box<Session>,
    pub member: Box<Member>,
    pub authentication: Option<Box<Authentication>>,
    /// Not for a branch of a Client that is counted.
    pub counted: Option<Counted>,
}

/// The place of a Client for as long as it lives: taken with its CONNECT, and counted as a connection when it is let in.
pub(super) struct Counted {
    broker: Arc<Broker>,
    connected: bool,
    /// At its listener.
    place: Option<Place>,
}

impl Counted {
    fn connect(&mut self) {
        self.connected = true;
        self.broker.metrics.connected();
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.place = None; // whoever sees that it is not counted any more finds its place free
        if self.connected {
            self.broker.metrics.disconnected();
        }
        self.broker.metrics.places_taken.fetch_sub(1, Relaxed);
    }
}

/// Takes CONNECT and answers it. `None`: it was refused or never came, and everything that is to be said was said.
pub(super) async fn enter<S>(
    framing: &mut Framing<S>,
    peer: Arc<Peer>,
    broker: &Arc<Broker>,
    patience: &Patience,
) -> Option<(Entered, Entrance)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut asker = Asker { version: Version::V3_1_1, packet_bytes_max: u32::MAX, problem_information: true };
    let introduced = tokio::time::timeout(patience.connect, introduce(framing, &peer, broker, patience, &mut asker)).await;
    let Ok(introduced) = introduced else {
        Metrics::add(&broker.metrics.connects_late, 1);
        tracing::debug!(peer = %peer.address, "no CONNECT in time");
        return None; // A Server that got no CONNECT in a reasonable time closes the connection (section 3.1.4).
    };
    // Outside of that time: who has begun to open a Session must end it. The Store has bounds of its own.
    let (admitted, entered) = match introduced {
        Ok(introduced) => (Some(introduced.client.clone()), open(framing, introduced, broker).await),
        Err(end) => (None, Err(end)),
    };
    let end = match entered {
        Ok(entered) => return Some(entered),
        Err(end) => end,
    };
    let reason = end.reason();
    if let End::Fault(fault) = end {
        let (listener, code) = (&peer.listener.name, fault.reason.0);
        tracing::info!(peer = %peer.address, %listener, reason_code = code, reason = %fault.reason, text = fault.text, "refused");
        refuse(framing, fault, &asker, broker).await;
    }
    if let Some(client) = admitted {
        super::leaving::tell_disconnected(broker, &client, reason).await;
    }
    None
}

/// Says why a Client is not let in, as far as it has a word for it.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(framing: &mut Framing<S>, fault: Fault, asker: &Asker, broker: &Broker) {
    Metrics::add(&broker.metrics.connections_refused, 1);
    let mut outgoing = Outgoing::default();
    let said = asker.has_word_for(fault.reason)
        && refusal(fault, asker.problem_information, &broker.settings).encode_within(
            asker.version,
            asker.packet_bytes_max,
            outgoing.tail(),
        );
    Metrics::add(&broker.metrics.packets_sent, said.into());
    let _ = tokio::time::timeout(super::leaving::LINGER, finish(framing, &mut outgoing)).await;
}

/// How a Client must be answered, as far as it has said so.
struct Asker {
    version: Version,
    packet_bytes_max: u32,
    problem_information: bool,
}

impl Asker {
    /// 3.1 and 3.1.1 have a return code for what a Server refuses, and none for a packet that breaks the rules: then it only closes
    /// `[v3:MQTT-3.1.4-1]`.
    fn has_word_for(&self, reason: Reason) -> bool {
        let breaks_rules = [
            Reason::MALFORMED_PACKET,
            Reason::PROTOCOL_ERROR,
            Reason::PACKET_TOO_LARGE,
            Reason::TOPIC_NAME_INVALID,
            Reason::QOS_NOT_SUPPORTED,
            Reason::RETAIN_NOT_SUPPORTED,
        ];
        self.version == Version::V5 || !breaks_rules.contains(&reason)
    }
}

/// What a Client is told that comes while the others are sent away. CONNACK has no word for a Server that shuts down but 0x88.
fn not_taken(farewell: Fault) -> Fault {
    match farewell.reason {
        Reason::SERVER_SHUTTING_DOWN => Fault { reason: Reason::SERVER_UNAVAILABLE, ..farewell },
        _ => farewell,
    }
}

fn not_opened(error: StoreError) -> End {
    match error {
        StoreError::Unavailable => Fault::new(Reason::SERVER_UNAVAILABLE, "the Store does not answer").into(),
        error => error.into(),
    }
}

/// Writes what is left and waits until the Client has seen it.
pub(super) async fn finish<S: AsyncRead + AsyncWrite + Unpin>(framing: &mut Framing<S>, outgoing: &mut Outgoing) {
    if framing.flush(outgoing).await.is_ok() && framing.shutdown().await.is_ok() {
        framing.drain().await;
    }
}

/// A Client that said who it is and was believed.
struct Introduced {
    client: Arc<Client>,
    request: Request,
    /// The method it was believed by, and the last Authentication Data for it.
    authentication: Option<(Authentication, Option<Bytes>)>,
    counted: Counted,
}

async fn introduce<S>(
    framing: &mut Framing<S>,
    peer: &Arc<Peer>,
    broker: &Arc<Broker>,
    patience: &Patience,
    asker: &mut Asker,
) -> Result<Introduced, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connect = first_packet(framing, &mut asker.version).await?;
    asker.packet_bytes_max = connect.properties.maximum_packet_size.unwrap_or(u32::MAX);
    asker.problem_information = connect.properties.request_problem_information.unwrap_or(true);
    if !broker.life.takes_connections() {
        return Err(not_taken(broker.farewell()).into());
    }
    if let Some(beyond) = patience.beyond {
        return Err(count_turned(beyond, broker).into());
    }
    let counted = count(broker, patience)?;
    let assign = || ClientId::new(&format!("mqttd-{}", uuid::Uuid::now_v7().simple()));
    let request = Request::new(&connect, &broker.settings, assign)?;
    let unproven = client(&connect, &request, peer, Admitted { user: connect.user_name.clone(), ..Admitted::default() });
    if let Some(reason) = broker.guard.shut_out(&unproven) {
        return Err(Fault::new(reason, "the Client is shut out").into());
    }
    let (admitted, authentication) = authenticate(framing, &mut connect, &request.client_id, peer, broker).await?;
    let client = Arc::new(client(&connect, &request, peer, admitted));
    // Whom it turned out to be may be shut out too.
    if let Some(reason) = broker.guard.shut_out(&client).filter(|_| client.user != unproven.user) {
        return Err(Fault::new(reason, "the Client is shut out").into());
    }
    // A will is a publish: what the Client may not say now it may not say at its end either.
    if let Some(will) = &request.will {
        broker.may_leave(&client, &LastWords::of(&will.message))?;
    }
    if broker.hooks.asks_for_connect() {
        admit(&client, connect.password.as_ref(), broker).await?;
    }
    Ok(Introduced { client, request, authentication, counted })
}

/// What the embedding program says to a Client that was believed.
async fn admit(client: &Arc<Client>, password: Option<&Bytes>, broker: &Broker) -> Result<(), Fault> {
    let admits = broker.watched(client, "on_connect", broker.hooks.admit(client, password));
    let admitted = tokio::time::timeout(broker.hooks.deadline, admits).await;
    admitted.unwrap_or(Err(Refused::DEADLINE)).map_err(|refused| {
        broker.count_failure(client, "on_connect", refused.why);
        Fault::new(refused.reason, "the program that this Server is part of does not let the Client in")
    })
}

/// The Session, from the Store; with CONNACK among its outgoing bytes.
async fn open<S>(framing: &mut Framing<S>, introduced: Introduced, broker: &Arc<Broker>) -> Result<(Entered, Entrance), End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Introduced { client, request, authentication, mut counted } = introduced;
    let now = broker.clock.now();
    let open = Open { clean_start: request.clean_start, expiry: request.expiry, will: request.will.clone() };
    let (member, state) = broker.open(&client, &request.client_id, open, now).await.map_err(not_opened)?;
    let (peer, listener) = (client.peer.address, &client.peer.listener.name);
    tracing::info!(client_id = %request.client_id, %peer, %listener, version = ?request.version, resumed = state.is_some(), "connected");
    let answered = authentication.as_ref().map(|(authentication, data)| (authentication.method.clone(), data.clone()));
    let (resumed, expiry, has_will) = (state.is_some(), request.expiry, request.will.is_some());
    // Shared by all streams; where there can be no other, and nothing is bounded, there is none.
    let shares = client.peer.transport == Transport::Quic || broker.rates.are_bounded();
    let allowance = shares.then(|| Arc::new(Allowance::new(&broker.rates, now)));
    let entrance = Entrance { client: client.clone(), request: Box::new(request.clone()), allowance: allowance.clone() };
    let mut session = Box::new(request.accept(state, answered, &broker.settings, now));
    let Some(mut member) = member else {
        // CONNACK has no word for it: the Client was in, and was taken over before it knew [MQTT-3.1.4-3].
        session.send_disconnect(Fault::new(Reason::SESSION_TAKEN_OVER, "another connection with this Client Identifier was faster"));
        let _ = tokio::time::timeout(super::leaving::LINGER, finish(framing, session.outgoing())).await;
        return Err(End::Client("taken over before it was in"));
    };
    allowance.iter().for_each(|allowance| allowance.join(&member.subscriber));
    member.allowance = allowance;
    if let Err(fault) = broker.confirm(&member).await {
        member.withdraw_will();
        broker.close(&mut member, &mut session, Default::default(), false, now).await?;
        return Err(fault.into());
    }
    if session.outgoing().is_empty() {
        member.withdraw_will();
        broker.close(&mut member, &mut session, Default::default(), false, now).await?;
        return Err(Fault::new(Reason::PACKET_TOO_LARGE, "no CONNACK fits into the Maximum Packet Size of the Client").into());
    }
    let authentication = authentication.map(|(authentication, _)| Box::new(authentication));
    let presence = Arc::new(Presence { client: client.clone(), connected_at: now, resumed, expiry, has_will, traffic: Traffic::default() });
    member.subscriber.mailbox.show(member.lease.epoch, presence.clone());
    counted.connect();
    Ok((Entered { client, presence, session, member: Box::new(member), authentication, counted: Some(counted) }, entrance))
}

/// A Session for one more stream of a Client: with what the Client asked for in CONNECT, under a name that nobody can guess and take over.
pub(super) async fn enter_branch(entrance: Entrance, broker: &Arc<Broker>) -> Result<Entered, End> {
    let Entrance { client, request, allowance } = entrance;
    let client_id = ClientId::new(&format!("mqttd-stream-{}", uuid::Uuid::new_v4().simple()));
    let request = request.branch(client_id);
    let now = broker.clock.now();
    let open = Open { clean_start: true, expiry: request.expiry, will: None };
    let (member, _) = broker.open(&client, &request.client_id, open, now).await.map_err(not_opened)?;
    let mut member = member.ok_or(End::Client("taken over before it was in"))?;
    allowance.iter().for_each(|allowance| allowance.join(&member.subscriber));
    member.allowance = allowance;
    let mut session = Box::new(request.accept(None, None, &broker.settings, now));
    // Nobody awaits this CONNACK.
    *session.outgoing() = Outgoing::default();
    session.take_counts();
    let presence =
        Presence { client: client.clone(), connected_at: now, resumed: false, expiry: None, has_will: false, traffic: Traffic::default() };
    Ok(Entered { client, presence: Arc::new(presence), session, member: Box::new(member), authentication: None, counted: None })
}

fn client(connect: &Connect, request: &Request, peer: &Arc<Peer>, admitted: Admitted) -> Client {
    Client {
        id: request.client_id.clone(),
        // A copy of its own: what came with it, the password too, is not to be kept.
        user: admitted.user.map(|user| user.to_string().into()),
        proof: admitted.proof,
        peer: peer.clone(),
        version: request.version,
        keep_alive_s: connect.keep_alive_s,
        clean_start: request.clean_start,
    }
}

/// The first packet must be a CONNECT `[MQTT-3.1.0-1]`.
async fn first_packet<S>(framing: &mut Framing<S>, version: &mut Version) -> Result<Connect, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frame = match framing.next_frame().await {
        Ok(Some(frame)) => frame,
        Ok(None) => return Err(End::Client("closed before CONNECT")),
        Err(FrameError::Io(error)) => return Err(End::Io(error)),
        Err(FrameError::Decode(error)) => return Err(too_soon(framing.first_byte(), error.into())),
    };
    if frame[0] >> 4 != 1 {
        return Err(End::Client("the first packet is no CONNECT"));
    }
    *version = packet::answer_version(&frame);
    match Packet::decode(*version, frame).map_err(Fault::from)? {
        Packet::Connect(connect) => Ok(*connect),
        _ => Err(End::Client("the first packet is no CONNECT")),
    }
}

/// A stream that does not begin with a CONNECT is no MQTT: nothing is said to it.
fn too_soon(first_byte: Option<u8>, fault: Fault) -> End {
    match first_byte {
        Some(byte) if byte >> 4 == 1 => End::Fault(fault),
        _ => End::Client("the first packet is no CONNECT"),
    }
}

/// Counts a newcomer that is not taken, and says why.
pub fn count_turned(beyond: Beyond, broker: &Broker) -> Fault {
    let (counter, text) = match beyond {
        Beyond::AddressCount => {
            (&broker.metrics.connections_refused_address, "as many Clients as this Server takes are connected from there")
        }
        Beyond::AddressRate => (&broker.metrics.connections_refused_rate, "Clients come too fast from there"),
        Beyond::ListenerRate => (&broker.metrics.connections_refused_rate, "Clients come too fast"),
    };
    Metrics::add(counter, 1);
    Fault::new(Reason::CONNECTION_RATE_EXCEEDED, text)
}

fn count(broker: &Arc<Broker>, patience: &Patience) -> Result<Counted, Fault> {
    let places = broker.metrics.places_taken.fetch_add(1, Relaxed) + 1;
    let counted = Counted { broker: broker.clone(), connected: false, place: Places::take(&patience.places) };
    if counted.place.is_none() || (patience.connections_max > 0 && places > patience.connections_max) {
        return Err(Fault::new(Reason::SERVER_BUSY, "as many Clients as this Server takes are connected"));
    }
    Ok(counted)
}
