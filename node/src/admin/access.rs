//! Who may ask for more than the probes: whoever shows the token, or where there is none, a program on this machine.
//!
//! A web page that a person on this machine has open is no such program. It can send requests to any address, so what a browser says of its
//! origin is looked at, and so is the name under which it found this node: a name that anybody can make point here is not trusted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::Desk;
use super::door::From;
use super::reply::Problem;

/// A proxy tells with these that the caller is somebody else.
const FORWARDED: [HeaderName; 2] = [header::FORWARDED, HeaderName::from_static("x-forwarded-for")];

/// What opens the API to other machines. Nothing shows it.
#[derive(Clone)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(not shown)")
    }
}

pub(super) async fn guard(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(From(caller)): ConnectInfo<From>,
    request: Request,
    next: Next,
) -> Response {
    let token = desk.settings.token.borrow().clone();
    match refusal(token.as_ref().map(|Token(token)| token.as_str()), caller, request.headers()) {
        None => next.run(request).await,
        Some(problem) => {
            let asks = (problem.status == StatusCode::UNAUTHORIZED).then_some([(header::WWW_AUTHENTICATE, "Bearer")]);
            (asks.map(IntoResponse::into_response).map(|response| response.headers().clone()).unwrap_or_default(), problem).into_response()
        }
    }
}

fn refusal(token: Option<&str>, caller: SocketAddr, headers: &HeaderMap) -> Option<Problem> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    if let Some(origin) = text(header::ORIGIN)
        && origin.split_once("://").map(|(_, host)| host) != Some(host)
    {
        return Some(Problem::new(StatusCode::FORBIDDEN, "FORBIDDEN", "a page of another site may not ask this"));
    }
    if let Some(token) = token {
        let shown = text(header::AUTHORIZATION).and_then(|value| value.split_once(' '));
        let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or("", |(_, token)| token.trim());
        let is_right: bool = shown.as_bytes().ct_eq(token.as_bytes()).into();
        let refusal = || {
            Problem::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "the header Authorization: Bearer TOKEN is missing or has another token")
        };
        return (!is_right).then(refusal);
    }
    let is_direct = caller.ip().to_canonical().is_loopback() && FORWARDED.iter().all(|name| !headers.contains_key(name));
    if !is_direct || !is_local(host) {
        let text = "without api.token in the configuration only programs on the machine of the node may ask this, at localhost";
        return Some(Problem::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", text));
    }
    None
}

/// A name for this machine that nobody else can make point here.
fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit())).map_or(host, |(name, _)| name);
    name == "localhost" || name.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_ask() {
        type Row = (Option<&'static str>, &'static str, &'static [(&'static str, &'static str)], u16);
        let rows: &[Row] = &[
            (None, "127.0.0.1:5", &[("host", "127.0.0.1:8080")], 200),
            (None, "[::1]:5", &[("host", "[::1]:8080")], 200),
            (None, "127.0.0.1:5", &[("host", "localhost")], 200),
            (None, "127.0.0.1:5", &[("host", "evil.example:8080")], 401),
            (None, "127.0.0.1:5", &[], 401),
            (None, "127.0.0.1:5", &[("host", "localhost:8080"), ("x-forwarded-for", "10.0.0.1")], 401),
            (None, "127.0.0.1:5", &[("host", "localhost:8080"), ("origin", "https://evil.example")], 403),
            (None, "127.0.0.1:5", &[("host", "localhost:8080"), ("origin", "null")], 403),
            (None, "127.0.0.1:5", &[("host", "localhost:8080"), ("origin", "http://localhost:8080")], 200),
            (None, "10.0.0.1:5", &[("host", "localhost")], 401),
            (Some("abc"), "127.0.0.1:5", &[("host", "localhost")], 401),
            (Some("abc"), "10.0.0.1:5", &[("host", "x"), ("authorization", "Bearer abc")], 200),
            (Some("abc"), "10.0.0.1:5", &[("host", "x"), ("authorization", "bearer abc")], 200),
            (Some("abc"), "10.0.0.1:5", &[("host", "x"), ("authorization", "Bearer abd")], 401),
            (Some("abc"), "10.0.0.1:5", &[("host", "x"), ("authorization", "Basic abc")], 401),
            (Some("abc"), "10.0.0.1:5", &[("host", "x"), ("authorization", "Bearer abc"), ("origin", "http://y")], 403),
        ];
        for (token, caller, headers, expected) in rows {
            let map = headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect();
            let code = refusal(*token, caller.parse().unwrap(), &map).map_or(200, |problem| problem.status.as_u16());
            assert_eq!(code, *expected, "{token:?} {caller} {headers:?}");
        }
    }
}
