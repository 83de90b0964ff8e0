//! From the configuration to who may come in and what they may do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::guard::Bounds;
use crate::auth::policy::Settings;
use crate::auth::{http, jwt, shared};
use crate::config::Config;
use crate::node::settings::access;
use crate::packet::reason::Reason;
use crate::store::redis::link::address::Access;
use crate::store::redis::link::tls::Tls;
use crate::topic::filter::TopicFilter;

/// What the sections [auth] and [access] say.
pub(crate) fn settings(config: &Config) -> io::Result<Settings> {
    let (auth, access) = (&config.auth, &config.access);
    let filters = |texts: &[String]| {
        let filter = |text: &String| TopicFilter::new(text).ok_or_else(|| io::Error::other(format!("{text:?} is no Topic Filter")));
        texts.iter().map(filter).collect::<io::Result<Vec<_>>>()
    };
    let order = auth.order.iter().map(|name| name.parse()).collect::<Result<_, String>>().map_err(io::Error::other)?;
    let jwt = auth.jwt_key_file.as_ref().map(|key_file| jwt::Settings {
        key_file: key_file.into(),
        audience: auth.jwt_audience.clone(),
        issuer: auth.jwt_issuer.clone(),
        user_claim: auth.jwt_user_claim.clone(),
        client_id_claim: auth.jwt_client_id_claim.clone(),
    });
    let http = auth.http_url.as_ref().map(|url| http::Settings {
        url: url.clone(),
        timeout: Duration::from_millis(auth.http_timeout_ms.into()),
        at_once: auth.http_at_once_max,
    });
    Ok(Settings {
        anonymous: auth.anonymous,
        order,
        users: auth.users.0.iter().map(|user| (user.name.clone(), user.password.reveal().to_owned())).collect(),
        password_file: auth.password_file.as_ref().map(PathBuf::from),
        certificate_user: auth.certificate_user,
        jwt,
        http,
        redis: auth.redis_url.as_ref().map(|url| shared_settings(config, url)),
        rules_file: access.rules_file.as_ref().map(PathBuf::from),
        deny_subscribe: filters(&access.deny_subscribe)?,
        deny_subscribe_reason: Reason(access.deny_subscribe_code),
        deny_publish: filters(&access.deny_publish)?,
    })
}

/// Its user and password stand in its own URL; Sentinels and TLS are those of the Store.
fn shared_settings(config: &Config, url: &str) -> shared::Settings {
    let Access { sentinel_user, sentinel_password, tls, .. } = access(&config.store);
    let tls = if url.starts_with("rediss") { tls } else { Tls::default() };
    let access = Access { user: None, password: None, sentinel_user, sentinel_password, tls };
    shared::Settings { url: url.to_owned(), access, prefix: config.store.prefix.clone() }
}

pub(super) fn bounds(config: &Config) -> Bounds {
    let half = || std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2);
    let hashes_at_once = if config.auth.hashes_at_once_max == 0 { half() } else { config.auth.hashes_at_once_max };
    Bounds { hashes_at_once, failures_per_address_max: config.auth.failures_per_address_max }
}
