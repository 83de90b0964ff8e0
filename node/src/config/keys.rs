//! Every key of the configuration, once: its place, help, type, default and what is allowed.

use super::key::{Allowed, Key};
use super::listener::{CertificateName, ClientCertificates, Listeners, TlsVersion};
use super::url::{Admin, Durability, ListenUrl, StoreUrl};
use super::user::{Secret, Users};
use super::value::{Refusal, Setting, Value};

const MIB: usize = 1024 * 1024;
const COUNT_MAX: u64 = 1_000_000_000_000;
const BYTES_MAX: u64 = 1 << 50;

/// Makes, from one list, the types that the node reads, their defaults, and [`KEYS`].
macro_rules! keys {
    (
        { $($(#[doc = $top_help:literal])* $top:ident: $Top:ty = $top_default:expr, $top_allowed:expr $(, example $top_example:literal)?;)* }
        $($(#[doc = $section_help:literal])* [$section:ident] $Section:ident {
            $($(#[doc = $help:literal])* $name:ident: $Type:ty = $default:expr, $allowed:expr $(, example $example:literal)?;)*
        })*
    ) => {
        /// The whole configuration. [`Config::default`] is what holds when nobody says anything.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $($(#[doc = $top_help])* pub $top: $Top,)*
            $($(#[doc = $section_help])* pub $section: $Section,)*
        }

        impl Default for Config {
            fn default() -> Config {
                Config { $($top: $top_default,)* $($section: $Section::default(),)* }
            }
        }

        $(
            $(#[doc = $section_help])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section { $($(#[doc = $help])* pub $name: $Type,)* }

            impl Default for $Section {
                fn default() -> $Section {
                    $Section { $($name: $default,)* }
                }
            }
        )*

        /// The keys in the order of the commented default.
        pub static KEYS: &[Key] = &[
            $(Key {
                section: "",
                name: stringify!($top),
                help: &[$($top_help),*],
                allowed: $top_allowed,
                example: first(&[$($top_example)?]),
                get: |config| config.$top.write(),
                set: |config, value| set(&mut config.$top, value),
            },)*
            $($(Key {
                section: stringify!($section),
                name: stringify!($name),
                help: &[$($help),*],
                allowed: $allowed,
                example: first(&[$($example)?]),
                get: |config| config.$section.$name.write(),
                set: |config, value| set(&mut config.$section.$name, value),
            },)*)*
        ];

        /// The sections and their help, in the same order.
        pub static SECTIONS: &[(&str, &[&str])] = &[$((stringify!($section), &[$($section_help),*]),)*];
    };
}

const fn first(examples: &[&'static str]) -> Option<&'static str> {
    if let [example, ..] = examples { Some(example) } else { None }
}

fn set<T: Setting>(place: &mut T, value: &Value) -> Result<(), Refusal> {
    *place = T::read(value)?;
    Ok(())
}

/// How the log's lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Text,
    Json,
}

impl Setting for LogFormat {
    fn read(value: &Value) -> Result<LogFormat, Refusal> {
        match value {
            Value::Text(text) if text == "auto" => Ok(LogFormat::Auto),
            Value::Text(text) if text == "text" => Ok(LogFormat::Text),
            Value::Text(text) if text == "json" => Ok(LogFormat::Json),
            _ => Err(Refusal::NotAllowed),
        }
    }

    fn write(&self) -> Option<Value> {
        let text = match self {
            LogFormat::Auto => "auto",
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        Some(Value::Text(text.to_owned()))
    }
}

/// What becomes of messages that a Client sends too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverRate {
    Delay,
    Drop,
}

impl Setting for OverRate {
    fn read(value: &Value) -> Result<OverRate, Refusal> {
        match value {
            Value::Text(text) if text == "delay" => Ok(OverRate::Delay),
            Value::Text(text) if text == "drop" => Ok(OverRate::Drop),
            _ => Err(Refusal::NotAllowed),
        }
    }

    fn write(&self) -> Option<Value> {
        let text = if *self == OverRate::Delay { "delay" } else { "drop" };
        Some(Value::Text(text.to_owned()))
    }
}

keys! {
    {
        /// Where clients come in. `tcp://:1883` listens on all addresses of this machine; `tls://:8883`, `wss://:8084/mqtt` and
        /// `quic://:14567` show the certificates of [tls].
        listen: Vec<ListenUrl> = vec![ListenUrl::tcp("127.0.0.1", 1883)], Allowed::Forms(ListenUrl::FORM);
        /// More listeners, each with settings of its own; also as tables [[listener]] with the same keys. Where there are some, the
        /// default of `listen` does not hold.
        listener: Listeners = Listeners::default(), Allowed::Listeners, example "[{ url = \"tcp://:1884\", proxy_protocol = true, proxy_from = [\"10.0.0.0/8\"] }]";
        /// Where the administration answers: probes, metrics, the REST API and the dashboard. When this default is taken already, the node
        /// says so and runs without; any other address that cannot be had is an error.
        admin: Admin = Admin::at("127.0.0.1", Admin::PORT), Allowed::Form(Admin::FORM);
    }

    /// This process.
    [node] Node {
        /// Its name: in logs, and among other nodes. Not set: with the Store on Redis that of the machine and a mark, made at start; else `node`.
        id: Option<String> = None, Allowed::Text, example "\"node-1\"";
    }

    /// The log, on standard error.
    [log] Log {
        /// What is logged: error, warn, info, debug, trace or off, also for parts: `info,mqttd::session=debug`.
        filter: String = "info".to_owned(), Allowed::Text;
        /// How its lines look; auto is text on a terminal and JSON elsewhere.
        format: LogFormat = LogFormat::Auto, Allowed::Choice(&["auto", "text", "json"]);
        /// Where traces go (OpenTelemetry, OTLP over HTTP as JSON): how long connections, CONNECTs, turns and writes to the Store take.
        otlp_url: Option<String> = None, Allowed::Text, example "\"http://collector:4318/v1/traces\"";
        /// One trace of so many is sent.
        otlp_one_in: usize = 100, Allowed::Number(1, COUNT_MAX);
    }

    /// The Store: sessions, their queued messages, and retained messages.
    [store] Store {
        /// Where it is. `memory:` is this process: what it holds is gone when the process ends. On Redis the nodes of a cluster share it.
        url: StoreUrl = StoreUrl::Memory, Allowed::Form(StoreUrl::FORM);
        /// The user of Redis, where it does not stand in the URL.
        user: Option<String> = None, Allowed::Text, example "\"mqttd\"";
        /// Its password, where it does not stand in the URL.
        password: Option<Secret> = None, Allowed::Secret, example "\"secret\"";
        /// The user of the Sentinels.
        sentinel_user: Option<String> = None, Allowed::Text, example "\"mqttd\"";
        /// The password of the Sentinels.
        sentinel_password: Option<Secret> = None, Allowed::Secret, example "\"secret\"";
        /// With rediss://, the file (PEM) of the authority that signed the certificate of Redis. Not set: the authorities of this machine.
        tls_ca: Option<String> = None, Allowed::File, example "\"redis-ca.pem\"";
        /// The file (PEM) of the certificate that is shown to Redis, where it asks for one.
        tls_certificate: Option<String> = None, Allowed::File, example "\"mqttd.pem\"";
        /// The file (PEM) of its key.
        tls_key: Option<String> = None, Allowed::File, example "\"mqttd.key\"";
        /// The name in the certificate of Redis, where it is not the host.
        tls_server_name: Option<String> = None, Allowed::Text, example "\"redis.example\"";
        /// What an acknowledged message outlives in Redis: relaxed, a restart as far as its appendfsync goes; replicated, also a failover, for
        /// it is on so many replicas; fsync, any crash, for it is on disk (appendfsync always, which is checked). README.md has the whole table.
        durability: Durability = Durability::Relaxed, Allowed::Choice(Durability::NAMES);
        /// With replicated, on how many replicas.
        replicas: u32 = 1, Allowed::Number(1, 16);
        /// With replicated, how long they may take; what is not on them by then is not acknowledged.
        replicas_wait_ms: u32 = 500, Allowed::Number(1, 1500);
        /// On Redis, the begin of every key: nodes with the same one share their sessions and messages.
        prefix: String = "mqttd".to_owned(), Allowed::Text;
        /// Queued messages of all sessions together; on Redis its maxmemory is the bound. At the bound new ones for sessions that are away are dropped.
        messages_max: usize = 10_000_000, Allowed::Number(1, COUNT_MAX);
        /// Bytes of payloads and topics, queued and retained together; on Redis its maxmemory is the bound.
        bytes_max: usize = 2048 * MIB, Allowed::Number(1, BYTES_MAX);
        /// Retained messages. At the bound a topic that has none yet gets none.
        retained_max: usize = 5_000_000, Allowed::Number(0, COUNT_MAX);
    }

    /// The nodes on one Redis.
    [cluster] Cluster {
        /// A node that was not heard of for so long is suspected; one that is still silent half as long again later is dead, and its clients'
        /// wills are published. Longer than any pause of a node, and the same on all of them.
        lease_s: u32 = 10, Allowed::Number(1, 3600);
        /// Without Redis for so long, a node ends its connections; until then they wait. It joins again by itself when Redis is back.
        outage_s: u32 = 30, Allowed::Number(1, 86_400);
    }

    /// Certificates for tls://, wss:// and quic://. Files are PEM; they are read again when they change, and upon SIGHUP, and no
    /// connection is dropped for it. Relative paths are looked for beside this file.
    [tls] Tls {
        /// The chain of this server, its own certificate first. Of several the one that has the name a client asks for is shown, or else the first.
        certificates: Vec<String> = Vec::new(), Allowed::Files;
        /// Their private keys, in the same order.
        keys: Vec<String> = Vec::new(), Allowed::Files;
        /// Who signs the certificates of clients. Not set: no client is asked for one.
        client_ca: Option<String> = None, Allowed::File, example "\"clients-ca.pem\"";
        /// Whether a client must show one.
        client_certificates: ClientCertificates = ClientCertificates::Required, Allowed::Choice(ClientCertificates::CHOICES);
        /// Which name of it is the client's: the Common Name of the subject, or the first Subject Alternative Name.
        client_name: CertificateName = CertificateName::CommonName, Allowed::Choice(CertificateName::CHOICES);
        /// The lowest version of TLS; QUIC has no other than 1.3.
        version_min: TlsVersion = TlsVersion::V1_2, Allowed::Choice(TlsVersion::CHOICES);
    }

    /// MQTT over WebSocket: ws:// and wss://.
    [websocket] Websocket {
        /// The pages that may connect, as `https://app.example`; empty is all of them, and programs that are no pages always may.
        origins: Vec<String> = Vec::new(), Allowed::Texts;
    }

    /// What one client may take from the others.
    [limits] Limits {
        /// Clients that are connected at a time; 0 is no limit. Who has not said CONNECT yet is bounded by connecting_max.
        connections_max: usize = 1_000_000, Allowed::Number(0, COUNT_MAX);
        /// New connections to one listener in a second, so many of which may come at once; more are told Connection rate exceeded. Each node
        /// counts its own. 0 is no limit.
        connections_per_second_max: u32 = 0, Allowed::Number(0, 1_000_000);
        /// Connections from one address (of IPv6: one /64) at a time, from their first byte on; more are told Connection rate exceeded, and when
        /// very many come some are closed untold. 0 is no limit.
        connections_per_address_max: usize = 0, Allowed::Number(0, COUNT_MAX);
        /// New connections from one address in a second; more are told the same. 0 is no limit.
        connections_per_second_per_address_max: u32 = 0, Allowed::Number(0, 1_000_000);
        /// Connections that have not said CONNECT yet. Above half of it they have a second for it, and one address (of IPv6: one /48) has at most
        /// a sixteenth of it; at the bound new ones are closed.
        connecting_max: usize = 20_000, Allowed::Number(1, COUNT_MAX);
        /// How long a new connection may take to send its CONNECT, with all that comes before it: TLS, WebSocket, PROXY header.
        connect_timeout_s: u32 = 10, Allowed::Number(1, 3600);
        /// The largest CONNECT, which comes before anything is known of the client; a larger one is closed.
        connect_bytes_max: u32 = 262_144, Allowed::Number(256, 268_435_455);
        /// The largest Control Packet a client may send, announced as Maximum Packet Size; less where bytes_per_second_max is less than a tenth of it.
        packet_bytes_max: u32 = 1_048_576, Allowed::Number(256, 268_435_455);
        /// Levels of a Topic Name or Topic Filter; 65,535 is the standard's own limit.
        topic_levels_max: u16 = 65_535, Allowed::Number(1, 65_535);
        /// Bytes of a Topic Name or Topic Filter.
        topic_bytes_max: u16 = 65_535, Allowed::Number(1, 65_535);
        /// Messages that one client may publish in a second; so many may come at once. 0 is no limit.
        messages_per_second_max: u32 = 0, Allowed::Number(0, 1_000_000_000);
        /// Bytes that one client may send in a second; no packet may be larger than what comes in ten. 0 is no limit.
        bytes_per_second_max: u64 = 0, Allowed::Number(0, BYTES_MAX);
        /// What becomes of messages over the rate: delay reads no further until it is kept; drop drops QoS 0 and refuses the rest (Quota
        /// exceeded), except that QoS 1 and 2 of 3.1.1 clients are delayed, for there is no word for a refusal.
        over_rate: OverRate = OverRate::Delay, Allowed::Choice(&["delay", "drop"]);
        /// Topic Filters that one client may subscribe to in a minute; more are refused (Quota exceeded). 0 is no limit.
        subscriptions_per_minute_max: u32 = 0, Allowed::Number(0, 1_000_000_000);
        /// Bytes of a Client Identifier.
        client_id_bytes_max: u16 = 65_535, Allowed::Number(23, 65_535);
        /// Subscriptions of one session.
        subscriptions_per_client_max: usize = 100_000, Allowed::Number(1, COUNT_MAX);
        /// Messages that wait in memory for one connection. At the bound QoS 0 is dropped; the rest waits in the Store.
        mailbox_messages_max: usize = 100_000, Allowed::Number(1, COUNT_MAX);
        /// Bytes of such messages.
        mailbox_bytes_max: usize = 64 * MIB, Allowed::Number(1, BYTES_MAX);
        /// A client that takes no byte for that long, while there are some for it, is closed.
        write_timeout_s: u32 = 60, Allowed::Number(1, 86_400);
    }

    /// Sessions: what is kept of a client, and how much may be on its way.
    [session] Session {
        /// The longest Session Expiry Interval granted; 4,294,967,295 is for ever.
        expiry_max_s: u32 = 4_294_967_295, Allowed::Number(0, 4_294_967_295);
        /// How long a 3.1 or 3.1.1 session with clean_session=0 is kept after its client went (7 days).
        v3_expiry_s: u32 = 604_800, Allowed::Number(0, 4_294_967_295);
        /// Messages queued for one session. At the bound new ones are dropped.
        queue_messages_max: usize = 100_000, Allowed::Number(1, COUNT_MAX);
        /// Bytes queued for one session; not counted on Redis.
        queue_bytes_max: usize = 256 * MIB, Allowed::Number(1, BYTES_MAX);
        /// QoS 1 and 2 messages a client may send without waiting for an acknowledgement, announced as Receive Maximum.
        receive_maximum: u16 = 1024, Allowed::Number(1, 65_535);
        /// QoS 1 and 2 messages sent to a client without waiting; a client's own Receive Maximum can only make it less.
        inflight_max: u16 = 1024, Allowed::Number(1, 65_535);
    }

    /// What the broker offers, and says in CONNACK.
    [protocol] Protocol {
        /// Topic Aliases a client may use towards the broker.
        topic_alias_maximum: u16 = 64, Allowed::Number(0, 65_535);
        /// Topic Aliases the broker uses towards a client that allows them.
        topic_alias_outbound_max: u16 = 16, Allowed::Number(0, 65_535);
        /// The highest QoS a client may publish with.
        maximum_qos: u8 = 2, Allowed::Number(0, 2);
        /// Retained messages.
        retain_available: bool = true, Allowed::Flag;
        /// Topic Filters with + and #.
        wildcard_available: bool = true, Allowed::Flag;
        /// Shared Subscriptions.
        shared_available: bool = true, Allowed::Flag;
        /// Subscription Identifiers.
        subscription_ids_available: bool = true, Allowed::Flag;
        /// The longest Keep Alive; a 5.0 client that asks for more, or for none, is told this one. 0 is no limit.
        keep_alive_max_s: u16 = 0, Allowed::Number(0, 65_535);
        /// The Keep Alive that every 5.0 client is told to use, whatever it asks for.
        server_keep_alive_s: Option<u16> = None, Allowed::Number(1, 65_535), example "60";
        /// How often the $SYS topics are published; 0 is never.
        sys_interval_s: u32 = 10, Allowed::Number(0, 86_400);
        /// Response Information for clients that ask for it.
        response_information: Option<String> = None, Allowed::Text, example "\"response/\"";
        /// Server Reference: another server to use, told to clients that are sent away.
        server_reference: Option<String> = None, Allowed::Text, example "\"other.example:1883\"";
    }

    /// The REST API and the dashboard, at the admin address.
    [api] Api {
        /// Whoever shows this token may ask and change everything. Without one only programs on the machine of the node may.
        token: Option<Secret> = None, Allowed::Secret, example "\"a long random text\"";
        /// The file that has the token, instead.
        token_file: Option<String> = None, Allowed::Text, example "\"/run/secrets/mqttd-token\"";
    }

    /// How a node ends, or is emptied: it is not ready, then takes no more connections, then sends its clients away, a few at a time.
    [drain] Drain {
        /// How long a node that is asked to end says that it is not ready and still takes connections, so that balancers learn of it.
        grace_s: u32 = 0, Allowed::Number(0, 3600);
        /// Over how long its clients are sent away, so that the other nodes are not stormed; faster when they are few (200 each second).
        time_s: u32 = 10, Allowed::Number(0, 3600);
        /// In a cluster, the will of a client whose session can go on at another node waits at least so long for it to come back.
        wills_wait_s: u32 = 30, Allowed::Number(0, 86_400);
        /// With protocol.server_reference set, clients are told Use another server (156); true: Server moved (157), which is for good.
        moved: bool = false, Allowed::Flag;
    }

    /// Who may come in.
    [auth] Auth {
        /// Clients that nobody vouches for come in. Not set: as long as nothing else is set in this section. When something is, they come without
        /// a User Name: a name is somebody's.
        anonymous: Option<bool> = None, Allowed::Flag, example "false";
        /// What a Client can be believed by, in the order in which it is asked. The first that knows it decides; what is not set is passed over.
        /// A [[listener]] may offer less: auth = ["certificate"].
        order: Vec<String> = ["certificate", "jwt", "users", "password_file", "redis", "http"].map(str::to_owned).to_vec(),
            Allowed::Forms("certificate, jwt, users, password_file, redis, http");
        /// Users, for User Name and Password and for SCRAM-SHA-256. Also as tables [[auth.users]] with the same keys.
        /// A relative password_file is looked for beside this file.
        users: Users = Users::default(), Allowed::Users, example "[{ name = \"ann\", password_file = \"ann.password\" }]";
        /// A file of `NAME:HASH` lines, as `mqttd passwd` and mosquitto_passwd write it.
        password_file: Option<String> = None, Allowed::File, example "\"/etc/mqttd/passwords\"";
        /// The Redis of users (`HSET mqttd:{auth}:users NAME HASH`) and rules (`SET mqttd:{auth}:rules TEXT`), with the prefix of store.prefix. Whoever
        /// changes them says so: `HINCRBY mqttd:{auth}:version users 1`, or `rules`. User and password stand in the URL; TLS and the Sentinels'
        /// user are as in [store].
        redis_url: Option<String> = None, Allowed::Form(StoreUrl::REDIS_FORM), example "\"redis://:secret@127.0.0.1:6379\"";
        /// The name in a Client's certificate is its User Name.
        certificate_user: bool = false, Allowed::Flag;
        /// JSON Web Tokens as passwords: a public key in PEM, a JWK Set, or a shared secret of at least 32 bytes. They must have the claim exp.
        jwt_key_file: Option<String> = None, Allowed::File, example "\"/etc/mqttd/jwks.json\"";
        /// What the claim aud must say.
        jwt_audience: Option<String> = None, Allowed::Text, example "\"mqtt\"";
        /// What the claim iss must say.
        jwt_issuer: Option<String> = None, Allowed::Text, example "\"https://id.example\"";
        /// The claim that names the user. A User Name, if there is one, must be the same.
        jwt_user_claim: String = "sub".to_owned(), Allowed::Text;
        /// The claim that must be the Client Identifier. Not set: it may be any.
        jwt_client_id_claim: Option<String> = None, Allowed::Text, example "\"client_id\"";
        /// Who is asked by a POST with client_id, user, password, address, and answers {"result": "allow", "deny" or "ignore"}. Without an answer
        /// nobody comes in.
        http_url: Option<String> = None, Allowed::Form("http://HOST/PATH or https://HOST/PATH"), example "\"http://127.0.0.1:9000/mqtt\"";
        /// How long it may take to answer.
        http_timeout_ms: u32 = 3000, Allowed::Number(10, 60_000);
        /// How many are asked about at a time, an eighth of them from one address; more wait.
        http_at_once_max: usize = 64, Allowed::Number(1, 10_000);
        /// Passwords that are hashed at a time, each on a core of its own and with about 19 MiB; 0 is half of the cores.
        hashes_at_once_max: usize = 0, Allowed::Number(0, 1024);
        /// Wrong passwords from one address in a minute; then nothing more is heard from it in that minute (Connection rate exceeded). 0 is no limit.
        failures_per_address_max: u32 = 30, Allowed::Number(0, 1_000_000);
    }

    /// What clients may do.
    [access] Access {
        /// A file of ordered rules, as deploy/rules.acl shows. As soon as there is one rule, what none allows is denied.
        rules_file: Option<String> = None, Allowed::File, example "\"/etc/mqttd/rules.acl\"";
        /// Topic Filters no client may subscribe to, nor to any part of them (Not authorized).
        deny_subscribe: Vec<String> = Vec::new(), Allowed::Filters;
        /// The Reason Code for it: 135 says Not authorized, 128 does not say why.
        deny_subscribe_code: u8 = 135, Allowed::Number(128, 135);
        /// Topics no client may publish to, as Topic Filters (Not authorized).
        deny_publish: Vec<String> = Vec::new(), Allowed::Filters;
    }

    /// What a broker must never do, for those who test clients. Never in production: each connection with faults is a warning in the log.
    [faults] Faults {
        /// A file in the format of curl's test server: version, PUBLISH-before-SUBACK, short-PUBLISH, error-CONNACK, excessive-remaining, Testnum.
        /// It is read again for every connection, and adds to what stands here. The flag is --faults FILE.
        file: Option<String> = None, Allowed::Text, example "\"mqttd.config\"";
        /// Clients of any other Protocol Level are refused.
        version: Option<u8> = None, Allowed::Number(0, 255), example "5";
        /// The first PUBLISH that a subscription brings goes before its SUBACK.
        publish_before_suback: bool = false, Allowed::Flag;
        /// A PUBLISH lacks its last two bytes, which its Remaining Length counts.
        short_publish: bool = false, Allowed::Flag;
        /// What CONNACK says, before the connection ends; a 5.0 client gets the Reason Code for the Connect Return codes 1 to 5.
        error_connack: Option<u8> = None, Allowed::Number(0, 255), example "3";
        /// The Remaining Length of a PUBLISH has five bytes.
        excessive_remaining: bool = false, Allowed::Flag;
        /// A number for the log.
        testnum: Option<u32> = None, Allowed::Number(0, 4_294_967_295), example "1190";
    }

    /// Requests: messages with a Response Topic that workers answer by way of Redis.
    [mcp] Mcp {
        /// Topics whose requests go to workers, as Topic Filters; none is none. Narrow it to what your workers answer.
        request_filters: Vec<String> = vec!["#".to_owned()], Allowed::Filters;
        /// Requests also go to the subscribers of their topics.
        route_to_subscribers: bool = true, Allowed::Flag;
        /// How workers hear of requests: by the channel (pubsub), by the stream (streams), or by both.
        delivery: String = "both".to_owned(), Allowed::Choice(&["both", "pubsub", "streams"]);
        /// What happens when no worker is there: the requester is told at once (error), or its request waits (wait).
        no_worker: String = "error".to_owned(), Allowed::Choice(&["error", "wait"]);
        /// When a requester is told that nobody answered; a shorter Message Expiry Interval comes first.
        timeout_s: u32 = 300, Allowed::Number(1, 86_400);
        /// The payload of a request; a larger one is answered with an error.
        payload_bytes_max: usize = MIB, Allowed::Number(1, BYTES_MAX);
        /// Requests of this node that wait for their answer; beyond it, Quota exceeded (0x97).
        in_flight_max: usize = 100_000, Allowed::Number(1, COUNT_MAX);
        /// The same of one client.
        in_flight_per_client_max: usize = 1000, Allowed::Number(1, COUNT_MAX);
        /// Bytes of the payloads of all that wait; beyond it, Quota exceeded (0x97). In the stream of Redis they take a third more.
        in_flight_bytes_max: usize = 256 * MIB, Allowed::Number(1, BYTES_MAX);
        /// Requests of one client in a second; beyond it, Quota exceeded (0x97). 0 is no limit.
        rate_per_client_max: u32 = 0, Allowed::Number(0, 1_000_000);
    }

    /// The bridge to Pub/Sub of Redis, for programs that speak no MQTT: the payload of what is published to a/b here is published to the channel
    /// mqttd:topic:a/b there, and the other way round. At most once, as Pub/Sub is. It wants the Store on Redis.
    [bridge] Bridge {
        /// Whether there is one. Turn it on at every node: one without it sends nothing to Redis.
        enabled: bool = false, Allowed::Flag;
        /// What begins the channel of a topic; the same at every node. No channel of the nodes themselves may begin so.
        prefix: String = "mqttd:topic:".to_owned(), Allowed::Text;
        /// Topics whose messages are published to Redis, as Topic Filters; none is none. Never those that begin with $.
        out_filters: Vec<String> = vec!["#".to_owned()], Allowed::Filters;
        /// Topics that clients of Redis may publish to; none is none. Who may publish there in Redis is asked no User Name here.
        in_filters: Vec<String> = vec!["#".to_owned()], Allowed::Filters;
        /// The QoS of what they publish: at 1 it also waits in the queues of sessions that are away.
        qos: u8 = 0, Allowed::Number(0, 1);
    }

    /// The threads that do the work.
    [runtime] Runtime {
        /// 0 is one for each core.
        worker_threads: usize = 0, Allowed::Number(0, 1024);
    }
}
