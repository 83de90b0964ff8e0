//! The REST API under `/api/v1`, in the shape of EMQX 5 where that has one: `{data, meta}` for pages, `{code, message}` for errors.

mod banned;
mod clients;
mod messages;
mod nodes;
mod requests;
mod retained;
mod sessions;
mod subscriptions;

use std::sync::Arc;

use axum::Router;

pub(super) use nodes::all_nodes;

use super::Desk;

pub(super) fn routes() -> Router<Arc<Desk>> {
    let rooms = [
        nodes::routes(),
        clients::routes(),
        sessions::routes(),
        banned::routes(),
        subscriptions::routes(),
        messages::routes(),
        retained::routes(),
        requests::routes(),
    ];
    rooms.into_iter().fold(Router::new(), Router::merge)
}
