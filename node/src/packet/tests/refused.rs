//! Packets that must be refused, with the Reason Code for it and the sentence of the standard that says so.
//! Numbers are those of 5.0; 3.1.1 says the same under its own.

use bytes::Bytes;

use super::super::reason::Reason;
use super::super::{Packet, Version, frame};
use super::{VERSIONS, notation};

const MALFORMED: Reason = Reason::MALFORMED_PACKET;
const PROTOCOL: Reason = Reason::PROTOCOL_ERROR;

fn check(versions: &[Version], rows: &[(&str, Reason, &str)]) {
    for &(source, reason, packet) in rows {
        for &version in versions {
            let result = Packet::decode(version, Bytes::from(notation::bytes(packet)));
            assert_eq!(result.as_ref().map_err(|error| error.reason), Err(reason), "{source}: {packet} in {version:?} gave {result:?}");
        }
    }
}

const V3: &[Version] = &[Version::V3_1, Version::V3_1_1];
const V5: &[Version] = &[Version::V5];

#[test]
fn fixed_header() {
    check(
        &VERSIONS,
        &[
            ("2.1.2 type 0", MALFORMED, "00{}"),
            ("2.1.2 type 0 with flags", MALFORMED, "0F{}"),
            ("[MQTT-2.1.3-1] CONNECT", MALFORMED, "11{'MQTT' 04 02 003C 'a'}"),
            ("[MQTT-2.1.3-1] CONNACK", MALFORMED, "21{00 00}"),
            ("[MQTT-2.1.3-1] PUBACK", MALFORMED, "42{0001}"),
            ("[MQTT-2.1.3-1] PUBREC", MALFORMED, "58{0001}"),
            ("[MQTT-3.6.1-1] PUBREL", MALFORMED, "60{0001}"),
            ("[MQTT-2.1.3-1] PUBCOMP", MALFORMED, "71{0001}"),
            ("[MQTT-3.8.1-1] SUBSCRIBE", MALFORMED, "80{0001 'a' 00}"),
            ("[MQTT-2.1.3-1] SUBACK", MALFORMED, "92{0001 00}"),
            ("[MQTT-3.10.1-1] UNSUBSCRIBE", MALFORMED, "A0{0001 'a'}"),
            ("[MQTT-2.1.3-1] UNSUBACK", MALFORMED, "B2{0001}"),
            ("[MQTT-2.1.3-1] PINGREQ", MALFORMED, "C1{}"),
            ("[MQTT-2.1.3-1] PINGRESP", MALFORMED, "D8{}"),
            ("[MQTT-3.14.1-1] DISCONNECT", MALFORMED, "E1{}"),
            ("3.12 PINGREQ has no body", MALFORMED, "C0{00}"),
            ("3.13 PINGRESP has no body", MALFORMED, "D0{00}"),
            ("2.1.4 length above the bytes", MALFORMED, "C001"),
            ("2.1.4 length below the bytes", MALFORMED, "30040001612A2A"),
            ("1.5.5 five bytes of length", MALFORMED, "30FFFFFFFF01"),
            ("2.1.4 no length", MALFORMED, "C0"),
            ("nothing at all", MALFORMED, ""),
        ],
    );
    check(V3, &[("3.1.1 2.2.1 type 15", MALFORMED, "F0{}")]);
    check(V5, &[("[MQTT-3.15.1-1] AUTH", MALFORMED, "F1{}")]);
    // In 3.1 SUBSCRIBE, UNSUBSCRIBE and PUBREL have a real DUP.
    check(&[Version::V3_1_1, Version::V5], &[("[MQTT-2.1.3-1] DUP on PUBREL", MALFORMED, "6A{0001}")]);
}

#[test]
fn connect() {
    let unsupported = Reason::UNSUPPORTED_PROTOCOL_VERSION;
    check(
        &VERSIONS,
        &[
            ("[MQTT-3.1.2-1] name", unsupported, "10{'MQTS' 04 02 003C 'a'}"),
            ("[MQTT-3.1.2-1] name in small letters", unsupported, "10{'mqtt' 04 02 003C 'a'}"),
            ("[MQTT-3.1.2-1] empty name", unsupported, "10{'' 04 02 003C 'a'}"),
            ("[MQTT-3.1.2-1] name that is no UTF-8", unsupported, "10{0002C328 04 02 003C 'a'}"),
            ("[MQTT-3.1.2-2] level 6", unsupported, "10{'MQTT' 06 02 003C 00 'a'}"),
            ("[MQTT-3.1.2-2] level 3 under the new name", unsupported, "10{'MQTT' 03 02 003C 'a'}"),
            ("[MQTT-3.1.2-2] level 4 under the old name", unsupported, "10{'MQIsdp' 04 02 003C 'a'}"),
            ("[MQTT-3.1.2-2] a bridge of mosquitto", unsupported, "10{'MQTT' 84 02 003C 'a'}"),
            ("[MQTT-3.1.2-3] reserved flag", MALFORMED, "10{'MQTT' 04 03 003C 'a'}"),
            ("[MQTT-3.1.2-3] reserved flag", MALFORMED, "10{'MQTT' 05 03 003C {} 'a'}"),
            ("[MQTT-3.1.2-11] Will QoS without Will", MALFORMED, "10{'MQTT' 05 0A 003C {} 'a'}"),
            ("[MQTT-3.1.2-13] Will Retain without Will", MALFORMED, "10{'MQTT' 04 22 003C 'a'}"),
            ("[MQTT-3.1.2-12] Will QoS 3", MALFORMED, "10{'MQTT' 05 1E 003C {} 'a' {} 'w' 'm'}"),
            ("3.1.1 [MQTT-3.1.2-22] Password alone", MALFORMED, "10{'MQTT' 04 42 003C 'a' 'p'}"),
            ("[MQTT-3.1.2-17] User Name missing", MALFORMED, "10{'MQTT' 04 82 003C 'a'}"),
            ("[MQTT-3.1.2-19] Password missing", MALFORMED, "10{'MQTT' 04 C2 003C 'a' 'u'}"),
            ("[MQTT-3.1.2-16] User Name not announced", MALFORMED, "10{'MQTT' 04 02 003C 'a' 'u'}"),
            ("[MQTT-3.1.3-3] no Client Identifier", MALFORMED, "10{'MQTT' 04 02 003C}"),
            ("[MQTT-3.1.3-4] Client Identifier with U+0000", MALFORMED, "10{'MQTT' 04 02 003C 00036100 62}"),
            ("[MQTT-3.1.2-9] Will Topic missing", MALFORMED, "10{'MQTT' 04 06 003C 'a'}"),
            ("[MQTT-3.1.2-9] Will Payload missing", MALFORMED, "10{'MQTT' 04 06 003C 'a' 'w'}"),
            ("nothing in it", MALFORMED, "10{}"),
            ("the name is cut", MALFORMED, "10{0004 4D51}"),
            ("the level is missing", MALFORMED, "10{'MQTT'}"),
            ("Keep Alive is cut", MALFORMED, "10{'MQTT' 04 02 00}"),
        ],
    );
}

#[test]
fn connect_properties() {
    check(
        V5,
        &[
            ("2.2.2.1 no Property Length", MALFORMED, "10{'MQTT' 05 02 003C}"),
            ("2.2.2.1 Property Length beyond the packet", MALFORMED, "10{'MQTT' 05 02 003C 20 'a'}"),
            ("2.2.2.1 a property over its length", MALFORMED, "10{'MQTT' 05 02 003C {11 0000} 0000 'a'}"),
            ("2.2.2.2 unknown identifier", MALFORMED, "10{'MQTT' 05 02 003C {7F 00} 'a'}"),
            ("2.2.2.2 unknown identifier of two bytes", MALFORMED, "10{'MQTT' 05 02 003C {8001 00} 'a'}"),
            ("2.2.2.2 Topic Alias in CONNECT", MALFORMED, "10{'MQTT' 05 02 003C {23 0001} 'a'}"),
            ("2.2.2.2 Will Delay outside of the Will", MALFORMED, "10{'MQTT' 05 02 003C {18 00000001} 'a'}"),
            ("2.2.2.2 Topic Alias in a Will", MALFORMED, "10{'MQTT' 05 06 003C {} 'a' {23 0001} 'w' 'm'}"),
            ("2.2.2.2 Subscription Identifier in a Will", MALFORMED, "10{'MQTT' 05 06 003C {} 'a' {0B 01} 'w' 'm'}"),
            ("3.1.2.11.2 twice", PROTOCOL, "10{'MQTT' 05 02 003C {11 00000001 11 00000001} 'a'}"),
            ("3.1.2.11.3 Receive Maximum 0", PROTOCOL, "10{'MQTT' 05 02 003C {21 0000} 'a'}"),
            ("3.1.2.11.3 twice", PROTOCOL, "10{'MQTT' 05 02 003C {21 0001 21 0001} 'a'}"),
            ("3.1.2.11.4 Maximum Packet Size 0", PROTOCOL, "10{'MQTT' 05 02 003C {27 00000000} 'a'}"),
            ("3.1.2.11.5 Topic Alias Maximum twice", PROTOCOL, "10{'MQTT' 05 02 003C {22 0000 22 0000} 'a'}"),
            ("3.1.2.11.6 Request Response 2", PROTOCOL, "10{'MQTT' 05 02 003C {19 02} 'a'}"),
            ("3.1.2.11.7 Request Problem FF", PROTOCOL, "10{'MQTT' 05 02 003C {17 FF} 'a'}"),
            ("3.1.2.11.9 method twice", PROTOCOL, "10{'MQTT' 05 02 003C {15 'x' 15 'x'} 'a'}"),
            ("3.1.2.11.10 data without method", PROTOCOL, "10{'MQTT' 05 02 003C {16 'd'} 'a'}"),
            ("1.5.4 User Property with U+0000", MALFORMED, "10{'MQTT' 05 02 003C {26 000100 'v'} 'a'}"),
            ("3.1.2.11.8 User Property is cut", MALFORMED, "10{'MQTT' 05 02 003C {26 'k'} 'a'}"),
            ("3.1.3.2.2 Will Delay twice", PROTOCOL, "10{'MQTT' 05 06 003C {} 'a' {18 00000000 18 00000000} 'w' 'm'}"),
            ("3.1.3.2.3 Payload Format 2", PROTOCOL, "10{'MQTT' 05 06 003C {} 'a' {01 02} 'w' 'm'}"),
        ],
    );
}

#[test]
fn publish() {
    check(
        &VERSIONS,
        &[
            ("[MQTT-3.3.1-4] QoS 3", MALFORMED, "36{'a' 0001 00}"),
            ("[MQTT-3.3.1-4] QoS 3 with DUP", MALFORMED, "3E{'a' 0001 00}"),
            ("[MQTT-3.3.1-2] DUP at QoS 0", MALFORMED, "38{'a' 00}"),
            ("[MQTT-2.2.1-3] Packet Identifier 0", PROTOCOL, "32{'a' 0000 00}"),
            ("3.3.2.2 no Packet Identifier", MALFORMED, "32{'a'}"),
            ("[MQTT-3.3.2-1] no Topic Name", MALFORMED, "30{}"),
            ("[MQTT-3.3.2-1] Topic Name is cut", MALFORMED, "30{0005 61}"),
            ("[MQTT-1.5.4-2] U+0000", MALFORMED, "30{0003 610062 00}"),
            ("[MQTT-1.5.4-1] overlong form", MALFORMED, "30{0002 C0AF 00}"),
            ("[MQTT-1.5.4-1] U+0000 in overlong form", MALFORMED, "30{0002 C080 00}"),
            ("[MQTT-1.5.4-1] surrogate", MALFORMED, "30{0003 EDA080 00}"),
            ("[MQTT-1.5.4-1] beyond U+10FFFF", MALFORMED, "30{0004 F4908080 00}"),
            ("[MQTT-1.5.4-1] cut in a character", MALFORMED, "30{0002 61C3 00}"),
        ],
    );
    check(
        V5,
        &[
            ("3.3.2.3.1 no Property Length", MALFORMED, "30{'a'}"),
            ("3.3.2.3.1 Property Length beyond the packet", MALFORMED, "30{'a' 05 01 01}"),
            ("1.5.5 Property Length of five bytes", MALFORMED, "30{'a' 8080808000}"),
            ("3.3.2.3.2 Payload Format 2", PROTOCOL, "30{'a' {01 02}}"),
            ("3.3.2.3.2 twice", PROTOCOL, "30{'a' {01 01 01 01}}"),
            ("3.3.2.3.3 Message Expiry twice", PROTOCOL, "30{'a' {02 00000001 02 00000001}}"),
            ("[MQTT-3.3.2-8] Topic Alias 0", Reason::TOPIC_ALIAS_INVALID, "30{'a' {23 0000}}"),
            ("3.3.2.3.4 twice", PROTOCOL, "30{'a' {23 0001 23 0001}}"),
            ("3.3.2.3.5 Response Topic twice", PROTOCOL, "30{'a' {08 'r' 08 'r'}}"),
            ("3.3.2.3.6 Correlation Data twice", PROTOCOL, "30{'a' {09 'c' 09 'c'}}"),
            ("3.3.2.3.8 Subscription Identifier 0", PROTOCOL, "30{'a' {0B 00}}"),
            ("3.3.2.3.8 of five bytes", MALFORMED, "30{'a' {0B 8080808001}}"),
            ("3.3.2.3.9 Content Type twice", PROTOCOL, "30{'a' {03 't' 03 't'}}"),
            ("2.2.2.2 Will Delay", MALFORMED, "30{'a' {18 00000001}}"),
            ("2.2.2.2 Reason String", MALFORMED, "30{'a' {1F 'r'}}"),
            ("2.2.2.2 identifier 0", MALFORMED, "30{'a' {00}}"),
            ("a value over the Property Length", MALFORMED, "30{'a' {09 0005 61} 62636465}"),
        ],
    );
}

#[test]
fn acknowledgements() {
    for (first, foreign) in [("40", "92"), ("50", "92"), ("62", "10"), ("70", "97")] {
        let packet = |body: &str| format!("{first}{{{body}}}");
        check(&VERSIONS, &[("[MQTT-2.2.1-3]", PROTOCOL, &packet("0000")), ("it is cut", MALFORMED, &packet("00"))]);
        check(V3, &[("3.1.1 3.4.2 two bytes", MALFORMED, &packet("0001 00"))]);
        check(
            V5,
            &[
                ("[MQTT-3.4.2-1] foreign code", PROTOCOL, &packet(&format!("0001 {foreign}"))),
                ("[MQTT-3.4.2-1] unknown code", PROTOCOL, &packet("0001 FF")),
                ("3.4.2.2.2 Reason String twice", PROTOCOL, &packet("0001 00 {1F 'a' 1F 'a'}")),
                ("2.2.2.2 Topic Alias", MALFORMED, &packet("0001 00 {23 0001}")),
                ("2.2.2.1 Property Length beyond the packet", MALFORMED, &packet("0001 00 01")),
                ("bytes behind the properties", MALFORMED, &packet("0001 00 {} 00")),
            ],
        );
    }
}

#[test]
fn subscribe_and_unsubscribe() {
    check(
        V3,
        &[
            ("[MQTT-3.8.3-2] no filter", PROTOCOL, "82{0001}"),
            ("[MQTT-2.2.1-3]", PROTOCOL, "82{0000 'a' 00}"),
            ("3.1.1 [v3:MQTT-3.8.3-4] reserved bits", MALFORMED, "82{0001 'a' 04}"),
            ("3.1.1 [v3:MQTT-3.8.3-4] reserved bits in the second", MALFORMED, "82{0001 'a' 01 'b' 80}"),
            ("3.8.3 no options", MALFORMED, "82{0001 'a'}"),
            ("[MQTT-3.8.3-1] filter is no UTF-8", MALFORMED, "82{0001 0001FF 00}"),
            ("[MQTT-3.10.3-2] no filter", PROTOCOL, "A2{0001}"),
            ("[MQTT-2.2.1-3]", PROTOCOL, "A2{0000 'a'}"),
            ("3.10.3 filter is cut", MALFORMED, "A2{0001 0002 61}"),
            ("3.9.3 unknown code", PROTOCOL, "90{0001 03}"),
            ("3.1.1 3.9.3 code of 5.0", PROTOCOL, "90{0001 87}"),
            ("3.9.3 no codes", PROTOCOL, "90{0001}"),
            ("3.1.1 3.11 no payload", MALFORMED, "B0{0001 00}"),
        ],
    );
    check(
        V5,
        &[
            ("[MQTT-3.8.3-2] no filter", PROTOCOL, "82{0001 {}}"),
            ("3.8.2.1.2 Subscription Identifier 0", PROTOCOL, "82{0001 {0B 00} 'a' 00}"),
            ("3.8.2.1.2 twice", PROTOCOL, "82{0001 {0B 01 0B 02} 'a' 00}"),
            ("2.2.2.2 Reason String", MALFORMED, "82{0001 {1F 'r'} 'a' 00}"),
            ("[MQTT-3.8.3-5] bit 6", MALFORMED, "82{0001 {} 'a' 40}"),
            ("[MQTT-3.8.3-5] bit 7", MALFORMED, "82{0001 {} 'a' 80}"),
            ("3.8.3.1 Retain Handling 3", PROTOCOL, "82{0001 {} 'a' 30}"),
            ("3.8.3.1 Maximum QoS 3", PROTOCOL, "82{0001 {} 'a' 03}"),
            ("[MQTT-3.10.3-2] no filter", PROTOCOL, "A2{0001 {}}"),
            ("2.2.2.2 Subscription Identifier", MALFORMED, "A2{0001 {0B 01} 'a'}"),
            ("[MQTT-3.9.3-2] code of UNSUBACK", PROTOCOL, "90{0001 {} 11}"),
            ("[MQTT-3.11.3-2] code of SUBACK", PROTOCOL, "B0{0001 {} 01}"),
            ("[MQTT-3.11.3-1] no codes", PROTOCOL, "B0{0001 {}}"),
        ],
    );
}

#[test]
fn connack_disconnect_and_auth() {
    check(
        V3,
        &[
            ("3.1.1 3.2.2.3 reserved return code", PROTOCOL, "20{00 06}"),
            ("3.2 three bytes", MALFORMED, "20{00 00 00}"),
            ("3.1.1 3.14 no body", MALFORMED, "E0{00}"),
        ],
    );
    check(
        &[Version::V3_1_1],
        &[
            ("[MQTT-3.2.2-1] reserved flags", MALFORMED, "20{02 00}"),
            ("3.1.1 [MQTT-3.2.2-4] Session Present in a refusal", PROTOCOL, "20{01 05}"),
        ],
    );
    check(
        V5,
        &[
            ("[MQTT-3.2.2-1] reserved flags", MALFORMED, "20{80 00 {}}"),
            ("[MQTT-3.2.2-6] Session Present in a refusal", PROTOCOL, "20{01 87 {}}"),
            ("[MQTT-3.2.2-8] foreign code", PROTOCOL, "20{00 8E {}}"),
            ("3.2.2.3.3 Receive Maximum 0", PROTOCOL, "20{00 00 {21 0000}}"),
            ("3.2.2.3.4 Maximum QoS 2", PROTOCOL, "20{00 00 {24 02}}"),
            ("3.2.2.3.5 Retain Available 2", PROTOCOL, "20{00 00 {25 02}}"),
            ("3.2.2.3.6 Maximum Packet Size 0", PROTOCOL, "20{00 00 {27 00000000}}"),
            ("2.2.2.2 Topic Alias", MALFORMED, "20{00 00 {23 0001}}"),
            ("3.2.2.3 no Property Length", MALFORMED, "20{00 00}"),
            ("[MQTT-3.14.2-1] foreign code", PROTOCOL, "E0{01}"),
            ("3.14.2.2.2 Session Expiry twice", PROTOCOL, "E0{00 {11 00000000 11 00000000}}"),
            ("2.2.2.2 Receive Maximum", MALFORMED, "E0{00 {21 0001}}"),
            ("bytes behind the properties", MALFORMED, "E0{00 {} 00}"),
            ("[MQTT-3.15.2-1] foreign code", PROTOCOL, "F0{81 {15 'x'}}"),
            ("3.15.2.2.2 no method", PROTOCOL, "F0{18 {}}"),
            ("3.15.2.2.2 data without method", PROTOCOL, "F0{18 {16 'd'}}"),
            ("3.15.2.2.2 method twice", PROTOCOL, "F0{18 {15 'x' 15 'x'}}"),
        ],
    );
}

#[test]
fn frames() {
    let check = |bytes: &str, maximum, expected| {
        let result = frame(&notation::bytes(bytes), maximum).map_err(|error| error.reason);
        assert_eq!(result, expected, "{bytes}");
    };
    check("", 100, Ok(None));
    check("30", 100, Ok(None));
    check("3080", 100, Ok(None));
    check("C000", 100, Ok(Some((2, 2))));
    check("C000C0", 100, Ok(Some((2, 2))));
    check("300500", 100, Ok(None));
    check("3005000161", 100, Ok(None));
    check("300500016100FF", 100, Ok(Some((2, 7))));
    // 1.5.5: longer than necessary, but to be understood.
    check("C0808000", 100, Ok(Some((4, 4))));
    check("30FFFFFF", 100, Ok(None));
    check("30FFFFFFFF", u32::MAX, Err(MALFORMED));
    check("3080808080", u32::MAX, Err(MALFORMED));
    check("30FFFFFF7F", u32::MAX, Ok(None));
    // 3.1.2.11.4: the whole packet counts, and it need not have arrived.
    check("3062", 100, Ok(None));
    check("3063", 100, Err(Reason::PACKET_TOO_LARGE));
    check("30FFFFFF7F", 1 << 20, Err(Reason::PACKET_TOO_LARGE));
}
