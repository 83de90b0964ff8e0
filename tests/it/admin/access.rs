//! Who may ask.

use mqttd::config::user::Secret;
use mqttd_tests::*;
use reqwest::Method;

#[test]
fn a_token_opens_the_api() {
    let broker = Broker::administered(|config| config.api.token = Some(Secret::new("a long random text")));
    let admin = broker.admin();
    for (admin, code) in [(admin.clone(), 401), (admin.with_token("another"), 401), (admin.with_token("a long random text"), 200)] {
        assert_eq!(admin.get("/api/v1/nodes").code, code);
        assert_eq!(admin.get("/api/v1/events-nowhere").code, if code == 200 { 404 } else { 401 });
    }
    let refused = admin.get("/api/v1/clients").json(401);
    assert_eq!(refused["code"], "UNAUTHORIZED");
    for open in ["/livez", "/metrics", "/dashboard", "/api-docs/openapi.json"] {
        assert_eq!(admin.get(open).code, 200, "{open}");
    }
}

/// A page of another site, open in a browser on this machine, can send requests too.
#[test]
fn other_sites_are_refused() {
    let broker = Broker::administered(|_| {});
    let ask = |headers: &[(&str, &str)]| broker.admin().ask(Method::POST, "/api/v1/nodes/self/drain", headers, None).code;
    assert_eq!(ask(&[("origin", "https://evil.example")]), 403);
    assert_eq!(ask(&[("host", "evil.example")]), 401);
    assert_eq!(ask(&[("x-forwarded-for", "192.0.2.1")]), 401);
    assert_eq!(broker.admin().get("/readyz").code, 200);
    let form = [("content-type", "text/plain")];
    let sent = broker.admin().ask(Method::POST, "/api/v1/publish", &form, None);
    assert_eq!(sent.json(415)["code"], "UNSUPPORTED_MEDIA_TYPE");
}
