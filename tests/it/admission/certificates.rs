//! The name in a client's certificate as its User Name: over real sockets with certificates on both sides, and told by a balancer.

use std::io::Write;
use std::time::Duration;

use mqttd::config::user::{Secret, User};
use mqttd::config::{CertificateName, ClientCertificates, Config, ListenUrl, Listener, Scheme};
use mqttd::hook::client::Transport;
use mqttd_tests::auth::Scratch;
use mqttd_tests::bridge::{self, Wire};
use mqttd_tests::certificates::{Authority, Certificate, Folder};
use mqttd_tests::client::Came;
use mqttd_tests::connecting::Connecting;
use mqttd_tests::way::Way;
use mqttd_tests::*;

use super::passwords::{line, scram};

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

/// What may be done is said of names: one that nobody has proven is not had, at no listener.
#[test]
fn a_name_in_a_certificate_is_nobody_elses() {
    let (folder, clients) = (Folder::new("names"), Authority::new("clients"));
    let ann = clients.client("ann", "ann.example");
    let rules = Scratch::new("allow user ann all own/ann\nallow publish open/#\n");
    let broker = Broker::over(&[Transport::Tls], |config| {
        guarded(config, &folder, &clients, CertificateName::CommonName, &rules);
        let public = ListenUrl::new(Scheme::Tcp, "127.0.0.1", 0);
        config.listener.0.push(Listener { anonymous: Some(true), ..Listener::new(public) });
        let tls = ListenUrl::new(Scheme::Wss, "127.0.0.1", 0);
        config.listener.0.push(Listener { anonymous: Some(true), ..Listener::new(tls) });
    });
    let may = |mut client: Client, topic: &str, reason| {
        client.send(message(topic, "x").qos(1).id(1));
        client.expect_ack(Kind::Puback, 1, reason);
    };
    let yes = Reason::NO_MATCHING_SUBSCRIBERS;
    may(broker.client(V5).connect_on(open(&broker, Transport::Tls, Some(&ann))), "own/ann", yes);
    let public = broker.client(V5).to(broker.address_of(Transport::Tcp));
    let without = || broker.client(V5);
    let over_tls = || open(&broker, Transport::SecureWebSocket, None);
    for name in ["ann", "bob"] {
        public.clone().user(name, "").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
        assert_eq!(without().user(name, "").send_on(over_tls()).expect_connack().reason, Reason::BAD_USER_NAME_OR_PASSWORD);
    }
    may(public.connect(), "open/x", yes);
    may(public.connect(), "own/ann", Reason::NOT_AUTHORIZED);
    may(without().connect_on(over_tls()), "own/ann", Reason::NOT_AUTHORIZED);
    may(without().connect_on(open(&broker, Transport::SecureWebSocket, Some(&ann))), "own/ann", yes);
}

/// Each listener believes what it is told to believe, of all that there is.
#[test]
fn a_listener_has_its_own_authentication() {
    let (folder, clients) = (Folder::new("names"), Authority::new("clients"));
    let ann = clients.client("ann", "ann.example");
    let (rules, file) = (Scratch::new("allow all #\n"), Scratch::new(line("bob", "stone")));
    let broker = Broker::over(&[], |config| {
        guarded(config, &folder, &clients, CertificateName::CommonName, &rules);
        config.auth.password_file = Some(file.path());
        config.auth.users.0 = vec![User { name: "carl".into(), password: Secret::new("pencil") }];
        for (scheme, auth) in [(Scheme::Tcp, "users"), (Scheme::Tls, "certificate"), (Scheme::Ws, "password_file"), (Scheme::Wss, "")] {
            let auth = Some([auth].into_iter().filter(|name| !name.is_empty()).map(str::to_owned).collect());
            config.listener.0.push(Listener { auth, ..Listener::new(ListenUrl::new(scheme, "127.0.0.1", 0)) });
        }
    });
    let wrong = Reason::BAD_USER_NAME_OR_PASSWORD;
    let by_password = |transport, user: &str, password: &str| broker.client(V5).to(broker.address_of(transport)).user(user, password);
    by_password(Transport::Tcp, "carl", "pencil").connect();
    by_password(Transport::Tcp, "bob", "stone").refused(wrong);
    by_password(Transport::WebSocket, "bob", "stone").connect();
    by_password(Transport::WebSocket, "carl", "pencil").refused(wrong);
    by_password(Transport::Tls, "carl", "pencil").refused(wrong);
    by_password(Transport::SecureWebSocket, "bob", "stone").refused(wrong);
    broker.client(V5).connect_on(open(&broker, Transport::Tls, Some(&ann)));
    let mut elsewhere = broker.client(V5).send_on(open(&broker, Transport::SecureWebSocket, Some(&ann)));
    assert_eq!(elsewhere.expect_connack().reason, Reason::NOT_AUTHORIZED);
    // SCRAM is the mechanism `users`.
    assert_eq!(scram(&broker, Wire::connect(broker.address_of(Transport::Tcp)).expect("it listens"), "carl", "pencil"), Reason::SUCCESS);
    let elsewhere = Wire::connect(broker.address_of(Transport::WebSocket)).expect("it listens");
    assert_eq!(scram(&broker, elsewhere, "carl", "pencil"), Reason::BAD_AUTHENTICATION_METHOD);
    // And it is no way past a certificate.
    let all = Broker::over(&[Transport::Tls], |config| {
        guarded(config, &folder, &clients, CertificateName::CommonName, &rules);
        config.auth.users.0 = ["ann", "bob"].map(|name| User { name: name.into(), password: Secret::new("pencil") }).into();
    });
    assert_eq!(scram(&all, open(&all, Transport::Tls, Some(&ann)), "ann", "pencil"), Reason::SUCCESS);
    assert_eq!(scram(&all, open(&all, Transport::Tls, Some(&ann)), "bob", "pencil"), wrong);
    assert_eq!(scram(&all, open(&all, Transport::Tls, None), "bob", "pencil"), Reason::SUCCESS);
}

/// What has expired proves nothing any more, also in a connection that began before.
#[test]
fn a_connection_ends_when_its_certificate_expires() {
    let (folder, clients, rules) = (Folder::new("names"), Authority::new("clients"), Scratch::new("allow all #\n"));
    let now = std::time::UNIX_EPOCH.elapsed().expect("it is later than that");
    let brief = clients.sign(&["ann.example"], |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "ann");
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + Duration::from_secs(8);
    });
    let broker = Broker::over(&WITH_CERTIFICATES, |config| guarded(config, &folder, &clients, CertificateName::CommonName, &rules));
    let mut connected: Vec<_> =
        WITH_CERTIFICATES.iter().map(|transport| broker.client(V5).connect_on(open(&broker, *transport, Some(&brief)))).collect();
    for client in &mut connected {
        match client.came_within(Duration::from_secs(60)) {
            Came::Packet(Packet::Disconnect(end)) if end.reason == Reason::NOT_AUTHORIZED => client.expect_closed(),
            other => client.fail("DISCONNECT", &other),
        }
    }
    assert_eq!(broker.auth().count(|metrics| &metrics.connections_expired), 3);
}
