//! What the standards ask of a Server, as dialogues over real sockets. Every test cites the statements it holds:
//! `[MQTT-3.1.2-22]` is a statement of MQTT 5.0, `[v3:MQTT-3.1.2-24]` one of 3.1.1.

#![allow(clippy::disallowed_methods, reason = "a test lives outside the broker and has the clock of everybody")]

// How a connection begins and ends.
mod connack; //       CONNACK: Session Present, capabilities, refusals
mod connect; //       CONNECT: versions, flags, payload, Client Identifiers
mod disconnect; //    DISCONNECT from either side
mod keep_alive; //    Keep Alive, and sockets that never say CONNECT
// mod authentication; // user names, enhanced authentication

// Messages.
mod alias; //         Topic Aliases in both directions
mod deliver; //       PUBLISH towards a subscriber: QoS 0, 1, 2, order
mod expiry;
mod properties; //    what is forwarded unaltered
mod publish; //       PUBLISH towards the broker: QoS 0, 1, 2
mod retained; //      RETAIN
mod will; //          Wills and their delay //        Message and Session Expiry

// Subscriptions.
mod subscribe; //     SUBSCRIBE, SUBACK, options, overlaps, identifiers
mod topics;
mod unsubscribe; //   UNSUBSCRIBE, UNSUBACK //        which Topic Filter matches which Topic Name
// mod shared; //        $share

// Sessions and limits.
// mod session; //       resumption, redelivery
// mod takeover; //      one Client Identifier, several connections
// mod flow_control; //  Receive Maximum in both directions
// mod packet_size; //   Maximum Packet Size in both directions

// Bad input and large input.
// mod malformed; //     bytes that are no packet
// mod malformed_properties;
// mod edges; //         the largest and strangest of what is allowed
// mod neighbours; //    one client's fault is no other's

// The broker about itself.
mod system; //        $SYS

// Below the sockets.
mod store; //         the Store's contract

// The books.
mod house; //         floors, pure rooms, long files
// mod statements; //    every statement is cited, or has a reason not to be
