//! What the standards ask of a Server, as dialogues over real sockets. Every test cites the statements it holds:
//! `[MQTT-3.1.2-22]` is a statement of MQTT 5.0, `[v3:MQTT-3.1.2-24]` one of 3.1.1.

#![allow(clippy::disallowed_methods, reason = "a test lives outside the broker and has the clock of everybody")]

// Who may come in, what they may do, and how much.
mod admission;

// How a connection begins and ends: CONNECT, CONNACK, AUTH and user names, what is offered, Keep Alive, DISCONNECT.
mod authentication;
mod capabilities;
mod compile_errors;
mod connack;
mod connect;
mod disconnect;
mod keep_alive;

// Messages: PUBLISH towards the broker and towards a subscriber, RETAIN, Wills, what is forwarded unaltered, Topic Aliases,
// Message and Session Expiry.
mod alias;
mod deliver;
mod expiry;
mod properties;
mod publish;
mod retained;
mod will;

// Subscriptions: SUBSCRIBE with its options, `$share`, which filter matches which name, UNSUBSCRIBE.
mod shared;
mod subscribe;
mod topics;
mod unsubscribe;

// Sessions and limits: Receive Maximum, Maximum Packet Size, resumption, one Client Identifier on several connections.
mod flow_control;
mod packet_size;
mod session;
mod takeover;

// A node that is a part of another program.
mod embedding;
mod examples;
mod faults;
mod options;
mod user_code;

// Bad input, large input, and that one client's fault is no other's.
mod edges;
mod fuzz;
mod malformed;
mod malformed_properties;
mod neighbours;

// What carries the bytes.
mod transports;

// Below the sockets: the Store's contract, and the link to Redis.
mod redis_cluster;
mod redis_link;
mod redis_nodes;
mod store;

// Several nodes on one Redis, and what is left when some of it is killed.
mod cluster;

// Messages that ask for an answer, and the workers behind Redis that give it.
mod requests;

// Programs that speak to Redis and no MQTT.
mod bridge;

// Clients of other hands.
mod rumqttc;

// The books: every statement is cited, or has a reason not to be.
mod statements;

// What the Server says of itself and is asked over HTTP, and the house itself: floors, pure rooms, file lengths.
mod admin;
mod house;
mod system;
