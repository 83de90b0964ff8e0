//! What the layers make of what people write: each row is what is said, and what comes of it.

use std::path::PathBuf;

use super::keys::{Config, KEYS, LogFormat};
use super::load::{Effective, Flag, Origin, Sources};
use super::print::{commented_default, effective};
use super::url::ListenUrl;

/// A configuration file that is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(text: &str) -> Scratch {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mqttd-config-{}-{number}.toml", std::process::id()));
        std::fs::write(&path, text).expect("the temporary directory can be written to");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Loads a file, variables (`NAME=VALUE`) and flags (`--flag key value`); errors have `FILE` for the file's path.
fn load(file: &str, variables: &[&str], flags: &[(&'static str, &'static str, &str)]) -> Result<Effective, String> {
    let scratch = Scratch::new(file);
    let variable = |text: &&str| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let sources = Sources {
        drop_ins: Vec::new(),
        file: Some(scratch.0.clone()),
        environment: variables.iter().filter_map(variable).collect(),
        flags: flags.iter().map(|(flag, key, value)| Flag { flag, key, value: (*value).to_owned() }).collect(),
    };
    Config::load(&sources).map_err(|errors| errors.to_string().replace(&scratch.0.display().to_string(), "FILE"))
}

fn complaint(file: &str, variables: &[&str], flags: &[(&'static str, &'static str, &str)]) -> String {
    load(file, variables, flags).err().unwrap_or_else(|| panic!("accepted: {file:?} {variables:?} {flags:?}"))
}

#[test]
fn what_the_file_says_wrongly() {
    let rows = [
        ("[[listener]]\nname = \"x\"", "FILE:1: listener = [{ name = \"x\" }]: a listener has no url; allowed: tables with a url"),
        ("[[listener]]\nurl = \"tcp://:1\"\nport = 1", "a listener has no \"port\"; it has url, name, proxy_protocol"),
        ("[[listener]]\nurl = \"quic://:1\"\nproxy_protocol = true", "quic://:1 has no PROXY protocol"),
        ("[[listener]]\nurl = \"ws://:1\"\nclient_ca = \"x\"", "ws://:1 has no certificates"),
        ("[[listener]]\nurl = \"tls://:1\"\norigins = []", "tls://:1 has no origins"),
        ("[[listener]]\nurl = \"tls://:1\"\nclient_certificates = \"no\"", "client_certificates: \"no\" is none of optional, required"),
        ("tls.client_name = \"dn\"", "tls.client_name = \"dn\" is not allowed; allowed: cn, san"),
        ("tls.certificates = \"a.pem\"", "a.pem\" is not allowed; allowed: a list of paths of files"),
        ("listen = [\"foo://x\"]", "FILE:1: listen = [\"foo://x\"]: \"foo://x\" begins with an unknown scheme; allowed: "),
        ("listen = \"tcp://:1\"", "FILE:1: listen = \"tcp://:1\" is not allowed; allowed: a list of tcp://HOST:PORT"),
        ("listen = [70000]", "FILE:1: listen = [70_000] is not allowed"),
        ("admin = \"127.0.0.1:x\"", "FILE:1: admin = \"127.0.0.1:x\" is not allowed; allowed: HOST:PORT, [IPV6]:PORT"),
        ("\n\n[store]\nurl = \"redis+x://h\"", "FILE:4: store.url = \"redis+x://h\" is not allowed; allowed: memory:, redis://"),
        ("[store]\npassword = 5", "FILE:2: store.password = (not shown) is not allowed"),
        ("[store]\nurl = \"redis+x://u:geheim@h\"", "store.url = \"redis+x://(not shown)@h\" "),
        ("[store]\nurl = \"redis+x://u:p@h?a=geheim\"", "store.url = \"redis+x://(not shown)@h?(not shown)\" "),
        ("[store]\nurl = \"redis+x://h?a=geheim@b\"", "store.url = \"redis+x://(not shown)\" "),
        ("[store]\nurl = \"file:/x\"", "FILE:2: store.url = \"file:/x\" is not allowed; allowed: memory:"),
        ("limits.packet_bytes_max = 255", "FILE:1: limits.packet_bytes_max = 255 is not allowed; allowed: 256 to 268_435_455"),
        ("limits.packet_bytes_max = \"1M\"", "limits.packet_bytes_max = \"1M\" is not allowed; allowed: 256 to"),
        ("limits.write_timeout_s = 1.5", "limits.write_timeout_s = 1.5 is not allowed; allowed: 1 to 86_400"),
        ("protocol.retain_available = \"yes\"", "protocol.retain_available = \"yes\" is not allowed; allowed: true or false"),
        ("protocol.maximum_qos = 3", "protocol.maximum_qos = 3 is not allowed; allowed: 0 to 2"),
        ("session.receive_maximum = 0", "session.receive_maximum = 0 is not allowed; allowed: 1 to 65_535"),
        ("log.format = \"xml\"", "log.format = \"xml\" is not allowed; allowed: auto, text, json"),
        ("node.id = \"\"", "node.id = \"\" is not allowed; allowed: a text that is not empty"),
        ("access.deny_publish = [\"a/#/b\"]", "access.deny_publish = [\"a/#/b\"] is not allowed; allowed: a list of Topic Filters"),
        ("limits = 3", "FILE:1: limits is a section: write [limits] and its keys below"),
        ("a = ", "FILE:1: this is not TOML: "),
        ("# ä\nnode.id = 'é", "FILE:2: this is not TOML: "),
    ];
    for (file, expected) in rows {
        let said = complaint(file, &[], &[]);
        assert!(said.contains(expected), "{file:?} gave {said:?}");
    }
}

#[test]
fn what_is_wrong_with_users_and_never_shows_a_password() {
    let rows = [
        ("name = \"ann\"", "the user \"ann\" has no password"),
        ("password = \"geheim\"", "a user has no name"),
        ("name = \"ann\"\npasword = \"geheim\"", "a user has no \"pasword\""),
        ("name = \"ann\"\npassword = \"geheim\"\npassword_file = \"x\"", "both password and password_file"),
        ("name = \"ann\"\npassword = \"geheim\"\n[[auth.users]]\nname = \"ann\"\npassword = \"geheim\"", "the name \"ann\" stands twice"),
        ("name = \"ann\"\npassword_file = \"/nowhere/geheim-file\"", "/nowhere/geheim-file: No such file"),
        ("name = \"ann\"\npassword = 5", "password must be a text"),
    ];
    for (user, expected) in rows {
        let said = complaint(&format!("[[auth.users]]\n{user}"), &[], &[]);
        assert!(said.starts_with("FILE:1: auth.users = ") && said.contains(expected), "{user:?} gave {said:?}");
        assert!(!said.contains("\"geheim\""), "{said}");
    }
}

#[test]
fn misspelled_names_are_errors_with_a_suggestion() {
    let rows = [
        ("lissten = []", "FILE:1: there is no key lissten; did you mean listen?"),
        ("limits.packet_byte_max = 3", "there is no key limits.packet_byte_max; did you mean limits.packet_bytes_max?"),
        ("packet_bytes_max = 3", "there is no key packet_bytes_max; did you mean limits.packet_bytes_max?"),
        ("session.packet_bytes_max = 3", "did you mean limits.packet_bytes_max?"),
        ("max_connections = 3", "did you mean limits.connections_max?"),
        ("allow_anonymous = true", "did you mean auth.anonymous?"),
        ("[limit]\nx = 1", "FILE:1: there is no section [limit]; did you mean [limits]?"),
        ("[zoo]\nx = 1", "there is no section [zoo]; there are [node], [log]"),
        ("xyzzy_plugh = 1", "there is no key xyzzy_plugh; `mqttd config` prints every key"),
    ];
    for (file, expected) in rows {
        let said = complaint(file, &[], &[]);
        assert!(said.contains(expected), "{file:?} gave {said:?}");
    }
}

#[test]
fn what_variables_and_flags_say_wrongly() {
    let rows = [
        ("MQTTD_LIMITS__PACKET_BYTE_MAX=3", "MQTTD_LIMITS__PACKET_BYTE_MAX: sets no key; did you mean MQTTD_LIMITS__PACKET_BYTES_MAX?"),
        ("MQTTD_ALLOW_ANONYMOUS=true", "MQTTD_ALLOW_ANONYMOUS: sets no key; did you mean MQTTD_AUTH__ANONYMOUS?"),
        ("MQTTD_XYZZY=1", "MQTTD_XYZZY: sets no key; `mqttd config` prints every key"),
        ("MQTTD_LIMITS__PACKET_BYTES_MAX=1M", "MQTTD_LIMITS__PACKET_BYTES_MAX: limits.packet_bytes_max = \"1M\" is not allowed"),
        ("MQTTD_AUTH__ANONYMOUS=yes", "MQTTD_AUTH__ANONYMOUS: auth.anonymous = \"yes\" is not allowed; allowed: true or false"),
        ("MQTTD_LISTEN=wsss://:1", "MQTTD_LISTEN: listen = [\"wsss://:1\"]: \"wsss://:1\" begins with an unknown scheme"),
        ("MQTTD_STORE__URL_FILE=/nowhere/x", "MQTTD_STORE__URL_FILE: /nowhere/x: No such file"),
        ("MQTTD_LOG__FILTER_FILE=/etc/hostname", "MQTTD_LOG__FILTER_FILE: sets no key"),
        ("MQTTD_AUTH__USERS=ann:geheim", "MQTTD_AUTH__USERS: auth.users = (not shown) is not allowed; allowed: tables"),
    ];
    for (variable, expected) in rows {
        let said = complaint("", &[variable], &[]);
        assert!(said.contains(expected), "{variable:?} gave {said:?}");
    }
    let twice = complaint("", &["MQTTD_LOG=info", "MQTTD_LOG__FILTER=debug"], &[]);
    assert_eq!(twice, "MQTTD_LOG__FILTER: sets log.filter a second time, after MQTTD_LOG; keep one");
    let flag = complaint("", &[], &[("--store", "store.url", "rodis://h")]);
    assert_eq!(flag, format!("--store: store.url = \"rodis://h\" is not allowed; allowed: {}", super::url::StoreUrl::FORM));
}

#[test]
fn all_errors_are_told_at_once_in_the_order_in_which_they_stand() {
    let file = "zzz = 1\n[limits]\nwrite_timeout_s = 0\nbogus = 1\n[auth]\nanonymous = 1";
    let said = complaint(file, &["MQTTD_LOG_FORMAT=xml"], &[("--admin", "admin", "x")]);
    let places: Vec<&str> = said.lines().map(|line| line.split(": ").next().unwrap_or("")).collect();
    assert_eq!(places, ["FILE:1", "FILE:3", "FILE:4", "FILE:6", "MQTTD_LOG_FORMAT", "--admin"]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let sources = Sources { file: Some("/nowhere/mqttd.toml".into()), ..Sources::default() };
    let said = Config::load(&sources).err().map(|errors| errors.to_string()).unwrap_or_default();
    assert!(said.starts_with("cannot read the configuration file /nowhere/mqttd.toml: No such file"), "{said}");
}

#[test]
fn each_layer_wins_over_the_one_below() {
    let file = "limits.write_timeout_s = 1\nlimits.connect_timeout_s = 1\nlog.filter = \"error\"";
    let variables = ["MQTTD_LIMITS__CONNECT_TIMEOUT_S=2", "MQTTD_LOG=warn", "MQTTD_NODE_ID=n1", "MQTTD_LOG_FORMAT=", "PATH=/bin"];
    let loaded = load(file, &variables, &[("--log", "log.filter", "debug")]).expect("is right");
    let config = &loaded.config;
    assert_eq!((config.limits.write_timeout_s, config.limits.connect_timeout_s), (1, 2));
    assert_eq!((config.log.filter.as_str(), config.log.format, config.node.id.as_deref()), ("debug", LogFormat::Auto, Some("n1")));
    assert!(matches!(loaded.origin("limits.write_timeout_s"), Origin::File { line: 1, .. }));
    assert_eq!(loaded.origin("limits.connect_timeout_s"), &Origin::Environment("MQTTD_LIMITS__CONNECT_TIMEOUT_S".to_owned()));
    assert_eq!(loaded.origin("log.filter"), &Origin::Flag("--log"));
    assert_eq!(loaded.origin("log.format"), &Origin::Default);
}

#[test]
fn lists_come_from_every_layer() {
    let both = [ListenUrl::tcp("", 1), ListenUrl::tcp("::1", 2)];
    let flags = [("--listen", "listen", "tcp://:1"), ("--listen", "listen", "tcp://[::1]:2")];
    let urls = |loaded: Result<Effective, String>| loaded.expect("is right").config.listen;
    assert_eq!(urls(load("listen = [\"tcp://:1\", \"tcp://[::1]:2\"]", &[], &[])), both);
    assert_eq!(urls(load("listen = [3]", &["MQTTD_LISTEN=tcp://:1, tcp://[::1]:2"], &[])), both);
    assert_eq!(urls(load("listen = [3]", &["MQTTD_LISTEN=[\"tcp://:1\", \"tcp://[::1]:2\"]"], &[])), both);
    assert_eq!(urls(load("listen = [3]", &["MQTTD_LISTEN=4"], &flags)), both);
}

#[test]
fn listeners_have_settings_of_their_own() {
    let file = "tls.certificates = [\"a.pem\", \"/b.pem\"]\n[[listener]]\nurl = \"tls://:1\"\ncertificates = [\"c.pem\"]\nanonymous = false\n\
                [[listener]]\nurl = \"ws://:2/x\"\nname = \"pages\"\nproxy_protocol = true";
    let config = load(file, &[], &[]).expect("is right").config;
    let directory = std::env::temp_dir();
    assert_eq!(config.tls.certificates, [directory.join("a.pem").display().to_string(), "/b.pem".to_owned()]);
    let [tls, ws] = &*config.listener.0 else { panic!("{:?}", config.listener) };
    assert_eq!(tls.certificates, Some(vec![directory.join("c.pem").display().to_string()]));
    assert_eq!((tls.title().as_str(), tls.anonymous), ("tls://:1", Some(false)));
    assert_eq!((ws.title().as_str(), ws.proxy_protocol, ws.url.path.as_str()), ("pages", true, "/x"));
    assert!(config.listen.is_empty(), "who has listeners has not asked for the default one");
    let both = load("listen = [3]\n[[listener]]\nurl = \"tcp://:1\"", &[], &[]).expect("is right").config;
    assert_eq!((both.listen.len(), both.listener.0.len()), (1, 1));
    let variable = load("", &["MQTTD_LISTENER=[{url = \"tcp://:1\", connections_max = 3}]"], &[]).expect("is right").config;
    assert_eq!(variable.listener.0[0].connections_max, 3);
}

#[test]
fn secrets_come_from_files_too() {
    let secret = Scratch::new("geheim\n");
    let name = secret.0.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let loaded = load(&format!("[[auth.users]]\nname = \"ann\"\npassword_file = \"{name}\""), &[], &[]).expect("is right");
    assert_eq!(loaded.config.auth.users.0[0].password.reveal(), "geheim");
    assert!(!effective(&loaded).contains("geheim") && !format!("{loaded:?}").contains("geheim"));

    let users = Scratch::new("[{ name = \"bob\", password = \"geheim\" }]\n");
    let loaded = load("", &[&format!("MQTTD_AUTH__USERS_FILE={}", users.0.display())], &[]).expect("is right");
    assert_eq!(loaded.config.auth.users.0[0].name, "bob");
}

#[test]
fn variables_of_a_kubernetes_service_are_passed_over() {
    let variables = [
        "MQTTD_SERVICE_HOST=10.0.0.1",
        "MQTTD_SERVICE_PORT=1883",
        "MQTTD_SERVICE_PORT_MQTT=1883",
        "MQTTD_PORT=tcp://10.0.0.1:1883",
        "MQTTD_PORT_1883_TCP_ADDR=10.0.0.1",
        "MQTTD_HEADLESS_PORT_1883_TCP=tcp://10.0.0.1:1883",
    ];
    load("", &variables, &[]).expect("is right");
}

#[test]
fn listen_urls() {
    let good = [
        ("1883", "tcp://127.0.0.1:1883"),
        ("tcp://:1883", "tcp://:1883"),
        ("tcp://*:1883", "tcp://:1883"),
        ("tcp://[::1]:1883", "tcp://[::1]:1883"),
        ("tcp://broker.example", "tcp://broker.example:1883"),
        ("0.0.0.0:1884", "tcp://0.0.0.0:1884"),
        ("wss://h:1/mqtt", "wss://h:1"),
        ("ws://h/", "ws://h:8083"),
        ("ws://h/a/b", "ws://h:8083/a/b"),
        ("quic://[::]", "quic://[::]:14567"),
    ];
    for (text, expected) in good {
        assert_eq!(text.parse::<ListenUrl>().map(|url| url.to_string()).as_deref(), Ok(expected), "{text:?}");
    }
    for text in ["", "tcp://", "tcp://h:x", "tcp://h:70000", "tcp://::1:1883", "tcp://[h]:1", "http://h:1", "tcp://h:1/x", "tcp://a b:1"] {
        assert!(text.parse::<ListenUrl>().is_err(), "{text:?}");
    }
}

#[test]
fn a_later_file_wins() {
    let folder = std::env::temp_dir().join(format!("mqttd-conf.d-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name)
    };
    let first = file("mqttd.toml", "[limits]\nconnections_max = 1\npacket_bytes_max = 1000\n");
    let drop_ins = vec![file("10.toml", "[limits]\nconnections_max = 2\n"), file("20.toml", "limits.connections_max = 3\n")];
    let loaded = Config::load(&Sources { file: Some(first), drop_ins, ..Sources::default() }).unwrap();
    assert_eq!((loaded.config.limits.connections_max, loaded.config.limits.packet_bytes_max), (3, 1000));
    assert!(loaded.origin("limits.connections_max").to_string().ends_with("20.toml:1"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_commented_default_is_the_default() {
    let text = commented_default();
    let bare: String = text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    assert_eq!(load(&bare, &[], &[]).expect("is right").config, Config::default());
    // Every key is there, and what is shown as an example is right too.
    let uncommented: String =
        text.lines().map(|line| line.strip_prefix("# ").filter(|rest| is_example(rest)).unwrap_or(line).to_owned() + "\n").collect();
    let without_users: String = uncommented.lines().filter(|line| !line.starts_with("users")).map(|line| format!("{line}\n")).collect();
    let loaded = load(&without_users, &[], &[]).expect("is right");
    let unset: Vec<String> = loaded.keys().filter(|(_, origin)| **origin == Origin::Default).map(|(key, _)| key.path()).collect();
    assert_eq!(unset, ["auth.users"]);
}

fn is_example(line: &str) -> bool {
    KEYS.iter().any(|key| line.starts_with(&format!("{} = ", key.name)))
}

/// `mqttd config > deploy/mqttd.toml` mends it.
#[test]
fn the_deployed_file_is_the_commented_default() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/mqttd.toml");
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), commented_default());
}
