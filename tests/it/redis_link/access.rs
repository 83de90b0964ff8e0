//! TLS and users: who is let in, and what is said to who is not.

use std::path::{Path, PathBuf};

use mqttd::store::redis::link::acl;
use mqttd::store::redis::link::address::Access;
use mqttd::store::redis::link::settings::Settings;
use mqttd::store::redis::link::start::StartError;
use mqttd::store::redis::link::tls::Tls;
use mqttd_tests::redis::{Redis, free_port};
use mqttd_tests::unique;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use redis::{Value, cmd};

use super::{open_with, push};

/// An authority, a certificate of Redis for `redis.test`, one of a node, and another authority that signed none of them.
struct Files(PathBuf);

impl Files {
    fn make() -> Files {
        let folder = std::env::temp_dir().join(unique("mqttd-tls-"));
        std::fs::create_dir_all(&folder).unwrap();
        let files = Files(folder);
        let authority = files.authority("ca.pem");
        files.authority("other-ca.pem");
        for (name, subject) in [("redis", "redis.test"), ("node", "node.test")] {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new(vec![subject.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
            std::fs::write(files.path(&format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(files.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        files
    }

    fn authority(&self, file: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, file);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(self.path(file), authority.pem()).unwrap();
        authority
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    /// A Redis with a port for TLS, and its URL there. `clients`: whether they need a certificate.
    fn redis(&self, clients: &str) -> Option<(Redis, String)> {
        let (port, path) = (free_port(), |file| self.path(file).display().to_string());
        let [certificate, key, ca] = ["redis.pem", "redis.key", "ca.pem"].map(path);
        let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
        let redis = Redis::with(&[&["--tls-port", &port.to_string(), "--tls-auth-clients", clients][..], &files].concat())?;
        Some((redis, format!("rediss://127.0.0.1:{port}/2")))
    }

    fn tls(&self, ca: &str, own: bool) -> Tls {
        let own = |file| own.then(|| self.path(file));
        Tls { ca: Some(self.path(ca)), certificate: own("node.pem"), key: own("node.key"), server_name: Some("redis.test".to_owned()) }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What is left in the folder of temporary files does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn try_tls(url: &str, tls: Tls) -> Result<Value, StartError> {
    let link = open_with(url, Access { tls, ..Access::default() }, Settings::default()).await?;
    let mut subscriber = link.subscriber().await.unwrap();
    subscriber.subscribe("bell").await.unwrap();
    link.write(0, vec![push("list", 1)]).await.unwrap();
    link.blocking("list").await.unwrap();
    Ok(link.call(cmd("LLEN").arg("list").take()).await.unwrap())
}

#[tokio::test]
async fn who_is_trusted_and_who_is_not() {
    let files = Files::make();
    let Some((redis, url)) = files.redis("no") else { return };
    assert_eq!(try_tls(&url, files.tls("ca.pem", false)).await, Ok(Value::Int(1)));
    let stored: i64 = redis.query(&["EVAL", "redis.call('select', 2) return redis.call('llen', 'list')", "0"]);
    assert_eq!(stored, 1, "the database of the URL");
    let rows = [
        (files.tls("other-ca.pem", false), "UnknownIssuer"),
        (Tls { server_name: None, ..files.tls("ca.pem", false) }, "not valid for name"),
        (Tls { server_name: Some("other.test".to_owned()), ..files.tls("ca.pem", false) }, "not valid for name"),
        (files.tls("nothing.pem", false), "nothing.pem"),
        (files.tls("redis.key", false), "there is no certificate in it"),
        (Tls { key: None, ..files.tls("ca.pem", true) }, "needs its key"),
    ];
    for (tls, expected) in rows {
        let error = try_tls(&url, tls.clone()).await.unwrap_err();
        assert!(matches!(&error, StartError::Tls(why) if why.contains(expected)), "{tls:?}: {error}");
    }
    let plain = url.replace("rediss", "redis");
    let error = try_tls(&plain, files.tls("ca.pem", false)).await.unwrap_err();
    assert!(matches!(&error, StartError::Address(why) if why.contains("rediss://")), "{error}");
}

#[tokio::test]
async fn a_certificate_of_the_node_where_redis_asks_for_one() {
    let files = Files::make();
    let Some((_redis, url)) = files.redis("yes") else { return };
    assert_eq!(try_tls(&url, files.tls("ca.pem", true)).await, Ok(Value::Int(1)));
    let error = try_tls(&url, files.tls("ca.pem", false)).await.unwrap_err();
    assert!(error.to_string().contains("store.tls_certificate") || matches!(error, StartError::Unreachable(_)), "{error}");
}

fn user(redis: &Redis, name: &str, rules: &str) -> Access {
    let set: Vec<&str> = ["ACL", "SETUSER", name, "on", ">secret"].into_iter().chain(rules.split(' ')).collect();
    redis.query::<()>(&set);
    Access { user: Some(name.to_owned()), password: Some("secret".to_owned()), ..Access::default() }
}

/// That the rules are enough is shown by the contract of the Store, as such a user.
#[tokio::test]
async fn a_user_that_may_too_little_is_told_what_it_lacks() {
    let Some(redis) = Redis::start() else { return };
    let all = acl::rules("mqttd", None);
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    assert!(readme.contains(&all), "the README has the rules: {all}");
    assert!(open_with(&redis.url(), user(&redis, "good", &all), Settings::default()).await.is_ok());
    let rows = [
        ("nostream", all.replace("+xadd ", "").replace("+xread ", ""), "xadd, xread"),
        ("nochannel", all.replace("&mqttd:*", "&other:*"), "publish, subscribe"),
        ("nokey", all.replace("~mqttd:*", "~other:*"), "del, exists"),
        ("nolibrary", all.replace("+function|load", ""), "function|load"),
    ];
    for (name, rules, expected) in rows {
        let error = open_with(&redis.url(), user(&redis, name, &rules), Settings::default()).await.unwrap_err();
        assert!(matches!(&error, StartError::Acl { denied, .. } if denied.starts_with(expected)), "{name}: {error}");
        assert!(error.to_string().contains(&format!("ACL SETUSER {name} ~mqttd:*")), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let both = open_with(&redis.url().replace("://", "://u:p@"), user(&redis, "good", &all), Settings::default()).await.unwrap_err();
    assert!(matches!(both, StartError::Address(_)), "{both}");
}
