//! TLS: who the broker is, who the client is, and certificates that change.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use mqttd::config::{CertificateName, ClientCertificates, Config};
use mqttd::hook::client::Transport;
use mqttd::node::Node;
use mqttd_tests::bridge::{self, Wire};
use mqttd_tests::certificates::{Authority, Certificate, Folder, client_config, localhost};
use mqttd_tests::way::Way;
use mqttd_tests::*;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConnection, HandshakeKind, ProtocolVersion, StreamOwned};

use super::{count, eventually};

const CONNECT: &[u8] = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00";

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A handshake as `name`, done with.
fn handshake(broker: &Broker, config: Arc<rustls::ClientConfig>, name: &str) -> std::io::Result<Stream> {
    let socket = TcpStream::connect(broker.address_of(Transport::Tls))?;
    let client = ClientConnection::new(config, ServerName::try_from(name.to_owned()).expect("a name")).expect("a client");
    let mut stream = StreamOwned::new(client, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// MQTT is answered on it.
fn ping(stream: &mut Stream) {
    stream.write_all(CONNECT).expect("it takes CONNECT");
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).expect("CONNACK");
    assert_eq!(connack, [0x20, 2, 0, 0]);
}

#[test]
fn versions_1_2_and_1_3_and_no_lower_than_configured() {
    let authority = &Authority::shared().pem;
    let both = Broker::over(&[Transport::Tls], |_| {});
    let only_1_3 = Broker::over(&[Transport::Tls], |config| config.tls.version_min = mqttd::config::listener::TlsVersion::V1_3);
    let client = |version: &'static rustls::SupportedProtocolVersion| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).expect("a version");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_slice(authority.as_bytes()).expect("PEM")).expect("an authority");
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    };
    for (version, expected) in [(&rustls::version::TLS12, ProtocolVersion::TLSv1_2), (&rustls::version::TLS13, ProtocolVersion::TLSv1_3)] {
        let mut stream = handshake(&both, client(version), "localhost").expect("a handshake");
        assert_eq!(stream.conn.protocol_version(), Some(expected));
        ping(&mut stream);
    }
    handshake(&only_1_3, client(&rustls::version::TLS13), "localhost").expect("a handshake");
    handshake(&only_1_3, client(&rustls::version::TLS12), "localhost").expect_err("1.2 is not offered");
    eventually("it is counted", || count(&only_1_3.metrics().tls_failed) == 1);
}

/// The second handshake of both versions is a resumption, without a certificate being sent.
#[test]
fn sessions_are_resumed() {
    let broker = Broker::over(&[Transport::Tls], |_| {});
    let config = Arc::new(client_config(&Authority::shared().pem, None));
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut stream = handshake(&broker, config.clone(), "localhost").expect("a handshake");
        ping(&mut stream); // 1.3 has sent its ticket by then
        assert_eq!(stream.conn.handshake_kind(), Some(expected));
    }
}

#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let (folder, authority) = (Folder::new("sni"), Authority::shared());
    let names = [&["one.example"][..], &["two.example", "*.three.example"]];
    let broker = Broker::over(&[Transport::Tls], |config| {
        let files = names.iter().enumerate().map(|(i, names)| {
            let Certificate { pem, key } = authority.server(names);
            (folder.file(&format!("{i}.pem"), &pem), folder.file(&format!("{i}.key"), &key))
        });
        (config.tls.certificates, config.tls.keys) = files.unzip();
    });
    let config = Arc::new(client_config(&authority.pem, None));
    for name in ["one.example", "two.example", "a.three.example"] {
        ping(&mut handshake(&broker, config.clone(), name).expect(name));
    }
    handshake(&broker, config, "four.example").expect_err("nobody has that name: the first is shown");
}

/// Where the name in the certificate shows: in the log and in rules; here by what comes in and what does not.
#[test]
fn client_certificates_are_required_or_optional() {
    let (folder, clients) = (Folder::new("mtls"), Authority::new("clients"));
    let (good, stranger) = (clients.client("ann", "ann.example"), Authority::new("others").client("eve", "eve.example"));
    let ca = folder.file("clients.pem", &clients.pem);
    let broker = |required: ClientCertificates| {
        Broker::over(&[Transport::Tls, Transport::SecureWebSocket, Transport::Quic], |config| {
            (config.tls.client_ca, config.tls.client_certificates) = (Some(ca.clone()), required);
        })
    };
    let come = |broker: &Broker, certificate: Option<&Certificate>| {
        [Transport::Tls, Transport::SecureWebSocket, Transport::Quic].map(|transport| {
            let way = Way { certificate: certificate.cloned(), ..Way::new(transport) };
            let Ok(stream) = bridge::connect(broker.address_of(transport), way) else { return false };
            let mut client = broker.client(V5).send_on(Wire::Pair(stream));
            matches!(client.next_event(), client::Came::Packet(Packet::Connack(connack)) if connack.reason == Reason::SUCCESS)
        })
    };
    let (required, optional) = (broker(ClientCertificates::Required), broker(ClientCertificates::Optional));
    assert_eq!((come(&required, Some(&good)), come(&optional, Some(&good))), ([true; 3], [true; 3]));
    assert_eq!((come(&required, None), come(&optional, None)), ([false; 3], [true; 3]));
    assert_eq!((come(&required, Some(&stranger)), come(&optional, Some(&stranger))), ([false; 3], [false; 3]));
    eventually("what failed is counted", || count(&required.metrics().tls_failed) == 4 && count(&required.metrics().quic_failed) == 2);
}

#[test]
fn the_name_of_a_client_is_in_its_certificate() {
    use mqttd::listener::tls::certificate::Facts;
    let der = |certificate: &Certificate| rustls::pki_types::CertificateDer::from_pem_slice(certificate.pem.as_bytes()).expect("PEM");
    let authority = Authority::shared();
    let facts = Facts::read(&der(&authority.client("ann", "ann.example"))).expect("a certificate");
    assert_eq!((facts.common_name.as_deref(), facts.alternative_name.as_deref()), (Some("ann"), Some("ann.example")));
    let spiffe = authority.sign(&[], |params| certificates::with_uri(params, "spiffe://example/device/7"));
    assert_eq!(Facts::read(&der(&spiffe)).expect("a certificate").alternative_name.as_deref(), Some("spiffe://example/device/7"));
    let address = Facts::read(&der(&authority.server(&["127.0.0.1"]))).expect("a certificate");
    assert_eq!(address.alternative_name.as_deref(), Some("127.0.0.1"));
    assert_eq!(CertificateName::CHOICES, ["cn", "san"]);
}

/// New files are shown to new connections; the old connections stay; bad files change nothing.
#[test]
fn certificates_are_renewed_without_a_dropped_connection() {
    let folder = Folder::new("renewal");
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let write = |authority: &Authority| {
        let Certificate { pem, key } = authority.server(&["localhost"]);
        (folder.file("server.pem", &pem), folder.file("server.key", &key))
    };
    let (certificate, key) = write(&old);
    let broker = Broker::over(&[Transport::Tls, Transport::Quic], |config| {
        (config.tls.certificates, config.tls.keys) = (vec![certificate.clone()], vec![key.clone()]);
    });
    let topic = unique("t");
    let come = |authority: &Authority, transport: Transport| {
        let way = Way { authority: authority.pem.clone(), ..Way::new(transport) };
        bridge::connect(broker.address_of(transport), way).ok().map(Wire::Pair)
    };
    let connect = |authority: &Authority, transport| broker.client(V5).connect_on(come(authority, transport).expect("a handshake"));
    let mut stay = [connect(&old, Transport::Tls), connect(&old, Transport::Quic)];
    stay.iter_mut().for_each(|client| client.subscribe(&topic, 1));
    folder.file("server.key", "no key");
    broker.renew();
    std::thread::park_timeout(std::time::Duration::from_millis(100));
    connect(&old, Transport::Tls).expect_nothing();
    write(&new);
    broker.renew();
    for transport in [Transport::Tls, Transport::Quic] {
        eventually("the new certificate is shown", || come(&new, transport).is_some());
        assert!(come(&old, transport).is_none());
    }
    connect(&new, Transport::Tls).publish(message(&topic, "still here").qos(1));
    for client in &mut stay {
        client.receive(message(&topic, "still here").qos(1));
    }
}

/// Another bundle of authorities: who is in stays; who comes is asked for a certificate of the new ones, even with a ticket of the old time.
/// The node looks at its files by itself.
#[test]
fn authorities_are_renewed_without_a_dropped_connection() {
    let folder = Folder::new("authorities");
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let ca = folder.file("clients.pem", &old.pem);
    let broker = Broker::over(&[Transport::Tls], |config| {
        (config.tls.client_ca, config.tls.client_certificates) = (Some(ca.clone()), ClientCertificates::Required);
    });
    let of = |clients: &Authority| Arc::new(client_config(&Authority::shared().pem, Some(&clients.client("ann", "ann.example"))));
    let (before, after) = (of(&old), of(&new));
    // TLS 1.3: that a certificate was refused is seen at what comes after the handshake.
    let comes = |config: &Arc<rustls::ClientConfig>| -> Option<Stream> {
        let mut stream = handshake(&broker, config.clone(), "localhost").ok()?;
        let mut connack = [0; 4];
        stream.write_all(CONNECT).and_then(|()| stream.read_exact(&mut connack)).ok()?;
        Some(stream)
    };
    let mut stays = comes(&before).expect("it is of the old authority");
    assert!(comes(&after).is_none());
    assert_eq!(comes(&before).expect("it comes again").conn.handshake_kind(), Some(HandshakeKind::Resumed));
    folder.file("clients.pem", &new.pem);
    let begun = std::time::Instant::now();
    while comes(&after).is_none() {
        assert!(begun.elapsed() < 3 * mqttd::listener::tls::LOOK, "it looks every {:?}", mqttd::listener::tls::LOOK);
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    assert!(comes(&before).is_none(), "it has a ticket, which is worth nothing now");
    stays.write_all(&[0xc0, 0]).expect("it is still in");
    let mut pong = [0; 2];
    stays.read_exact(&mut pong).expect("PINGRESP");
    assert_eq!(pong, [0xd0, 0]);
}

/// As Kubernetes does it: what is changed is a symlink, and the broker looks by itself.
#[test]
fn a_symlink_that_leads_elsewhere_is_noticed() {
    let folder = Folder::new("secret");
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    for (name, authority) in [("old", &old), ("new", &new)] {
        let Certificate { pem, key } = authority.server(&["localhost"]);
        std::fs::create_dir(folder.path().join(name)).expect("a folder");
        folder.file(&format!("{name}/tls.crt"), &pem);
        folder.file(&format!("{name}/tls.key"), &key);
    }
    let point_to = |name: &str| {
        std::os::unix::fs::symlink(name, folder.path().join("next")).expect("a link");
        std::fs::rename(folder.path().join("next"), folder.path().join("data")).expect("it is put in place");
    };
    point_to("old");
    let files = mqttd::listener::tls::Files {
        certificates: vec![folder.path().join("data/tls.crt")],
        keys: vec![folder.path().join("data/tls.key")],
        client_ca: None,
        client_required: false,
        client_name_is_alternative: false,
        only_1_3: false,
    };
    let identity = mqttd::listener::tls::Identity::load(files).expect("they are good");
    let before = identity.config();
    let read_again = || identity.read_again(false).map(|config| config.map(|config| identity.show(config)).is_some());
    assert!(!read_again().expect("they are good"));
    point_to("new");
    assert!(read_again().expect("they are good"));
    assert!(!Arc::ptr_eq(&before, &identity.config()));
    std::fs::remove_file(folder.path().join("data")).expect("it is there");
    read_again().expect_err("they are gone");
    assert!(!read_again().expect("it is told once"));
}

#[test]
fn wrong_files_are_named_with_what_is_wrong() {
    let (folder, authority) = (Folder::new("wrong"), Authority::shared());
    let expired = authority.sign(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 2, 3);
    });
    let future = authority.sign(&["localhost"], |params| params.not_before = rcgen::date_time_ymd(2999, 1, 1));
    let (certificate, key) = localhost(folder.path());
    let expired_file = folder.file("expired.pem", &expired.pem);
    let rows = [
        (vec![expired_file], vec![folder.file("e.key", &expired.key)], "has expired on 2021-02-03"),
        (vec![folder.file("future.pem", &future.pem)], vec![folder.file("f.key", &future.key)], "is not valid before 2999-01-01"),
        (vec![certificate.clone()], vec![folder.file("other.key", &expired.key)], "other.key: is not the key of"),
        (vec![certificate.clone()], vec!["/nowhere/key.pem".to_owned()], "/nowhere/key.pem: No such file"),
        (vec![key.clone()], vec![key.clone()], "there is no certificate in it"),
        (vec![certificate.clone()], vec![certificate.clone()], "no private key in PEM"),
        (vec![certificate.clone()], vec![], "there are 1 and 0"),
        (vec![], vec![], "TLS needs tls.certificates and tls.keys"),
    ];
    for (certificates, keys, expected) in rows {
        let mut config = Config { listen: vec!["tls://127.0.0.1:0".parse().expect("a URL")], ..Config::default() };
        (config.tls.certificates, config.tls.keys) = (certificates, keys);
        let said = Node::check(&config).expect_err(expected).to_string();
        assert!(said.starts_with("tls://127.0.0.1:0: ") && said.contains(expected), "{said}");
    }
    let mut config = Config { listen: vec!["quic://127.0.0.1:0".parse().expect("a URL")], ..Config::default() };
    (config.tls.certificates, config.tls.keys, config.tls.client_ca) = (vec![certificate], vec![key.clone()], Some(key));
    assert!(Node::check(&config).expect_err("a key is no authority").to_string().contains("there is no certificate in it"));
}
