//! The dashboard: one page without anything from elsewhere. It is open, for there is nothing in it; what it shows it asks the API for.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use super::Desk;

const PAGE: &str = include_str!("dashboard.html");
const OPEN_API: &str = include_str!("openapi.json");

/// Nothing from elsewhere runs or is fetched, no other page has this one in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/dashboard") }))
        .route("/dashboard", get(|| async { file(PAGE, "text/html; charset=utf-8") }))
        .route("/dashboard.js", get(|| async { file(include_str!("dashboard.js"), "text/javascript; charset=utf-8") }))
        .route("/dashboard.css", get(|| async { file(include_str!("dashboard.css"), "text/css; charset=utf-8") }))
        .route("/api-docs/openapi.json", get(|| async { file(OPEN_API, "application/json") }))
}

fn file(text: &'static str, kind: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
