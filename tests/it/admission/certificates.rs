//! The name in a client's certificate as its User Name: over real sockets with certificates on both sides, and told by a balancer.

use std::io::Write;

use mqttd::config::{CertificateName, ClientCertificates, Config, ListenUrl, Listener, Scheme};
use mqttd::hook::client::Transport;
use mqttd_tests::auth::Scratch;
use mqttd_tests::bridge::{self, Wire};
use mqttd_tests::certificates::{Authority, Certificate, Folder};
use mqttd_tests::connecting::Connecting;
use mqttd_tests::way::Way;
use mqttd_tests::*;

const WITH_CERTIFICATES: [Transport; 3] = [Transport::Tls, Transport::SecureWebSocket, Transport::Quic];

/// Believes in certificates of this authority, and goes by this name in them. Who shows none may come as far as CONNECT.
fn guarded(config: &mut Config, folder: &Folder, clients: &Authority, name: CertificateName, rules: &Scratch) {
    config.tls.client_ca = Some(folder.file("clients.pem", &clients.pem));
    (config.tls.client_certificates, config.tls.client_name) = (ClientCertificates::Optional, name);
    config.auth.certificate_user = true;
    config.access.rules_file = Some(rules.path());
}

fn open(broker: &Broker, transport: Transport, certificate: Option<&Certificate>) -> Wire {
    let way = Way { certificate: certificate.cloned(), ..Way::new(transport) };
    Wire::Pair(bridge::connect(broker.address_of(transport), way).expect("a handshake"))
}

/// What it may is said of the name in its certificate, and of no other.
#[test]
fn rules_and_bans_hold_for_the_name_in_a_certificate() {
    let (folder, clients) = (Folder::new("names"), Authority::new("clients"));
    let ann = clients.client("ann", "ann.example");
    let rules = Scratch::new("allow user ann all cn/%u\nallow user ann.example all san/%u\n");
    for (name, own, other) in
        [(CertificateName::CommonName, "cn/ann", "san/ann.example"), (CertificateName::AlternativeName, "san/ann.example", "cn/ann")]
    {
        let broker = Broker::over(&WITH_CERTIFICATES, |config| guarded(config, &folder, &clients, name, &rules));
        let user = own.split_once('/').expect("a topic of two levels").1;
        for transport in WITH_CERTIFICATES {
            let connecting = broker.client(V5);
            let mut client = connecting.connect_on(open(&broker, transport, Some(&ann)));
            client.send(message(own, "x").qos(1).id(1));
            client.expect_ack(Kind::Puback, 1, Reason::NO_MATCHING_SUBSCRIBERS);
            client.send(message(other, "x").qos(1).id(2));
            client.expect_ack(Kind::Puback, 2, Reason::NOT_AUTHORIZED);
            client.send(Packet::Subscribe(Box::new(subscribe(3, &[(own, 1), (other, 1), ("#", 1)]))));
            client.expect_suback(3, &[Reason(1), Reason::NOT_AUTHORIZED, Reason::NOT_AUTHORIZED]);
            // The same name beside it says nothing new; another one is a lie.
            connecting.clone().user(user, "").connect_on(open(&broker, transport, Some(&ann))).disconnect();
            let mut liar = connecting.clone().user("bob", "").send_on(open(&broker, transport, Some(&ann)));
            assert_eq!(liar.expect_connack().reason, Reason::BAD_USER_NAME_OR_PASSWORD);
            // Without a certificate nobody vouches for it, whatever it says.
            for (client, reason) in
                [(connecting.clone(), Reason::NOT_AUTHORIZED), (connecting.user(user, ""), Reason::BAD_USER_NAME_OR_PASSWORD)]
            {
                assert_eq!(client.send_on(open(&broker, transport, None)).expect_connack().reason, reason);
            }
        }
        let mut client = broker.client(V5).connect_on(open(&broker, Transport::Tls, Some(&ann)));
        broker.auth().ban(&format!("user:{user}"), None);
        client.expect_disconnect(Reason::NOT_AUTHORIZED);
        let mut again = broker.client(V5).send_on(open(&broker, Transport::Quic, Some(&ann)));
        assert_eq!(again.expect_connack().reason, Reason::BANNED);
    }
}

/// What a balancer that ends TLS says of the certificate is as good (PP2_TYPE_SSL).
#[test]
fn the_name_may_be_told_by_a_balancer() {
    let rules = Scratch::new("allow user ann all own/%u\n");
    let broker = Broker::over(&[], |config| {
        let url = ListenUrl::new(Scheme::Tcp, "127.0.0.1", 0);
        config.listener.0.push(Listener { proxy_protocol: true, ..Listener::new(url) });
        (config.auth.certificate_user, config.access.rules_file) = (true, Some(rules.path()));
    });
    let through = |ssl: &[u8], connecting: Connecting| {
        let body = [&[192, 0, 2, 7, 127, 0, 0, 1, 0x12, 0x34, 0x07, 0x5b], ssl].concat();
        let header = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &(body.len() as u16).to_be_bytes()[..], &body].concat();
        let mut socket = std::net::TcpStream::connect(broker.address()).expect("it listens");
        socket.write_all(&header).expect("sent");
        connecting.send_on(Wire::Tcp(socket))
    };
    let ann = b"\x20\0\x0b\x03\0\0\0\0\x22\0\x03ann";
    let mut client = through(ann, broker.client(V5));
    assert_eq!(client.expect_connack().reason, Reason::SUCCESS);
    client.send(message("own/ann", "x").qos(1).id(1));
    client.expect_ack(Kind::Puback, 1, Reason::NO_MATCHING_SUBSCRIBERS);
    client.send(message("own/bob", "x").qos(1).id(2));
    client.expect_ack(Kind::Puback, 2, Reason::NOT_AUTHORIZED);
    let not_verified = b"\x20\0\x0b\x03\0\0\0\x01\x22\0\x03ann";
    assert_eq!(through(not_verified, broker.client(V5)).expect_connack().reason, Reason::NOT_AUTHORIZED);
    assert_eq!(through(b"", broker.client(V5)).expect_connack().reason, Reason::NOT_AUTHORIZED);
}
