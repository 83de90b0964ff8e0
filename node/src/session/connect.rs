//! CONNECT and CONNACK (sections 3.1 and 3.2): what is asked, what is refused, what is granted.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use crate::message::Message;
use crate::packet::connack::{Connack, ConnackProperties};
use crate::packet::connect::{self, ClientId, Connect};
use crate::packet::outgoing::Outgoing;
use crate::packet::publish::PublishProperties;
use crate::packet::reason::Reason;
use crate::packet::{Packet, QoS, Version};
use crate::session::inbound::Inbound;
use crate::session::settings::Settings;
use crate::session::state::{State, Will};
use crate::session::{Counts, Fault, Session};
use crate::time::{Span, Time};
use crate::topic::name::TopicName;

/// A CONNECT that is well formed and can be granted, before anybody asked who the Client is.
#[derive(Clone, Debug)]
pub struct Request {
    pub version: Version,
    pub client_id: ClientId,
    /// The Server chose the Client Identifier and must tell it `[MQTT-3.2.2-16]`.
    pub assigned: bool,
    pub clean_start: bool,
    /// How long the Session outlives its connection; `None` for ever.
    pub expiry: Option<Span>,
    pub will: Option<Will>,
    keep_alive_s: u16,
    /// What the Client asked for where the Server decided otherwise, so that CONNACK says it.
    told: ConnackProperties,
    receive_maximum: Option<u16>,
    packet_bytes_max: u32,
    topic_alias_maximum: Option<u16>,
    problem_information: bool,
}

impl Request {
    /// Holds a CONNECT against the rules and what this Server offers. `assign` makes a Client Identifier where the Client has none.
    pub fn new(connect: &Connect, settings: &Settings, assign: impl FnOnce() -> ClientId) -> Result<Request, Fault> {
        let properties = &connect.properties;
        let assigned = connect.client_id.is_empty();
        let client_id = client_id(connect, settings, assign)?;
        let will = connect.will.as_ref().map(|will| self::will(will, settings)).transpose()?;
        let asked_s = match connect.version {
            Version::V5 => properties.session_expiry_s.unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => settings.v3_expiry_s,
        };
        let keep_alive_s = settings.keep_alive_s(connect.keep_alive_s);
        let told = ConnackProperties {
            session_expiry_s: (asked_s > settings.expiry_max_s).then_some(settings.expiry_max_s),
            server_keep_alive_s: (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s),
            assigned_client_id: assigned.then(|| client_id.as_str().into()),
            response_information: settings.response_information.clone().filter(|_| properties.request_response_information == Some(true)),
            ..ConnackProperties::default()
        };
        Ok(Request {
            version: connect.version,
            client_id,
            assigned,
            clean_start: connect.clean_start,
            expiry: settings.session_expiry(asked_s),
            will,
            keep_alive_s: if connect.version == Version::V5 { keep_alive_s } else { connect.keep_alive_s },
            told,
            receive_maximum: properties.receive_maximum,
            packet_bytes_max: properties.maximum_packet_size.unwrap_or(u32::MAX),
            topic_alias_maximum: properties.topic_alias_maximum,
            problem_information: properties.request_problem_information.unwrap_or(true),
        })
    }

    /// The same for one more stream of this Client: a Session that ends with it. The Keep Alive is that of the first stream.
    pub fn branch(self, client_id: ClientId) -> Request {
        Request { client_id, assigned: false, clean_start: true, expiry: Some(Span(0)), will: None, keep_alive_s: 0, ..self }
    }

    /// The Session, with CONNACK and what is owed from before already among its outgoing bytes. `state` is what is resumed.
    pub fn accept(
        self,
        state: Option<State>,
        authentication: Option<(ByteString, Option<Bytes>)>,
        settings: &Arc<Settings>,
        now: Time,
    ) -> Session {
        let durable = self.expiry != Some(Span(0)) || state.is_some();
        let outbound = settings.outbound(self.version, self.receive_maximum, self.topic_alias_maximum);
        let connack = self.connack(state.is_some(), authentication, settings);
        let mut session = Session {
            client_id: self.client_id,
            version: self.version,
            settings: settings.clone(),
            durable,
            expiry: self.expiry,
            expiry_at_connect_is_zero: self.expiry == Some(Span(0)),
            problem_information: self.problem_information,
            packet_bytes_max: self.packet_bytes_max,
            keep_alive: Span(u64::from(self.keep_alive_s) * 1500),
            last_heard: now,
            keep_will: true,
            inbound: Inbound::default(),
            outbound,
            retained_reads: Default::default(),
            commands: Vec::new(),
            promises: Vec::new(),
            promises_expected: 0,
            outgoing: Outgoing::default(),
            counts: Counts::default(),
            following: None,
        };
        session.send(&connack);
        if let Some(state) = state {
            session.inbound = Inbound::resume(state.received);
            session.outbound.resume(&state.released, state.sent);
            session.resend_released(&state.released);
        }
        session
    }

    fn connack(&self, session_present: bool, authentication: Option<(ByteString, Option<Bytes>)>, settings: &Settings) -> Packet {
        let (authentication_method, authentication_data) = match authentication {
            Some((method, data)) => (Some(method), data),
            None => (None, None),
        };
        let unavailable = |available: bool| (!available).then_some(false);
        let properties = ConnackProperties {
            receive_maximum: (settings.receive_maximum < u16::MAX).then_some(settings.receive_maximum),
            maximum_qos: (settings.maximum_qos < QoS::ExactlyOnce).then_some(settings.maximum_qos),
            maximum_packet_size: Some(settings.packet_bytes_max),
            topic_alias_maximum: (settings.topic_alias_maximum > 0).then_some(settings.topic_alias_maximum),
            retain_available: unavailable(settings.retain_available),
            wildcard_subscription_available: unavailable(settings.wildcard_available),
            subscription_ids_available: unavailable(settings.subscription_ids_available),
            shared_subscription_available: unavailable(settings.shared_available),
            authentication_method,
            authentication_data,
            ..self.told.clone()
        };
        Packet::Connack(Box::new(Connack { session_present, reason: Reason::SUCCESS, properties }))
    }
}

/// A CONNACK that refuses, for a Client that may have said no more than its version.
pub fn refusal(fault: Fault, problem_information: bool, settings: &Settings) -> Packet {
    let reason_string = problem_information.then(|| fault.text.into());
    let server_reference = settings.reference(fault.reason);
    let properties = ConnackProperties { reason_string, server_reference, ..ConnackProperties::default() };
    Packet::Connack(Box::new(Connack { session_present: false, reason: fault.reason, properties }))
}

impl Settings {
    /// Where else a Client may go that is sent away for this reason (section 3.2.2.3.16).
    pub(super) fn reference(&self, reason: Reason) -> Option<ByteString> {
        let sends_elsewhere = [Reason::SERVER_SHUTTING_DOWN, Reason::USE_ANOTHER_SERVER, Reason::SERVER_MOVED].contains(&reason);
        self.server_reference.clone().filter(|_| sends_elsewhere)
    }

    /// The Keep Alive in force: the Client's, unless the Server has a bound (section 3.2.2.3.14).
    fn keep_alive_s(&self, asked_s: u16) -> u16 {
        match (self.server_keep_alive_s, self.keep_alive_max_s) {
            (Some(everyone), _) => everyone,
            (None, 0) => asked_s,
            (None, bound) if asked_s == 0 => bound,
            (None, bound) => asked_s.min(bound),
        }
    }
}

fn client_id(connect: &Connect, settings: &Settings, assign: impl FnOnce() -> ClientId) -> Result<ClientId, Fault> {
    let text = &connect.client_id;
    if text.len() > settings.client_id_bytes_max {
        return Err(Fault::new(Reason::CLIENT_IDENTIFIER_NOT_VALID, "the Client Identifier is longer than this Server takes"));
    }
    if !text.is_empty() {
        return Ok(ClientId::new(text));
    }
    match connect.version {
        Version::V3_1 => Err(Fault::new(Reason::CLIENT_IDENTIFIER_NOT_VALID, "MQTT 3.1 needs a Client Identifier")),
        // [v3:MQTT-3.1.3-8]
        Version::V3_1_1 if !connect.clean_start => {
            Err(Fault::new(Reason::CLIENT_IDENTIFIER_NOT_VALID, "without a Client Identifier Clean Session must be 1"))
        }
        _ => Ok(assign()),
    }
}

fn will(will: &connect::Will, settings: &Settings) -> Result<Will, Fault> {
    if will.qos > settings.maximum_qos {
        return Err(Fault::new(Reason::QOS_NOT_SUPPORTED, "Will QoS above the Maximum QoS of this Server")); // [MQTT-3.2.2-12]
    }
    if will.retain && !settings.retain_available {
        return Err(Fault::new(Reason::RETAIN_NOT_SUPPORTED, "Will Retain, and this Server keeps no retained messages")); // [MQTT-3.2.2-13]
    }
    let topic = TopicName::new(will.topic.clone()).filter(|topic| !topic.is_system());
    let topic = topic.ok_or(Fault::new(Reason::TOPIC_NAME_INVALID, "the Will Topic is no Topic Name that a Client may publish to"))?;
    let mut properties = will.properties.clone();
    let expiry_s = properties.as_deref_mut().and_then(|properties| properties.message_expiry_s.take());
    let properties = properties.filter(|properties| **properties != PublishProperties::default());
    let message = Message { topic, payload: will.payload.clone(), qos: will.qos, retain: will.retain, properties, expires_at: None };
    Ok(Will { message, expiry_s, delay: Span::seconds(will.delay_s) })
}
