//! Every status and every sentence that a client of either listener reads. No other file of this room picks a status;
//! `tests/architecture/` holds that.

mod body;
mod capture;
mod dashboard;
mod internal;
mod json;
mod problem;
mod public;
mod reload;

pub(in crate::server) use crate::server::respond::body::{EventsBody, InternalBody, ResponseBody, full};

pub(in crate::server) use crate::server::respond::capture::{
    not_found_now, not_verified_now, nothing_recorded, too_many_readers,
};
pub(in crate::server) use crate::server::respond::dashboard::{events, signed_in, signed_out};

pub(in crate::server) use crate::server::respond::internal::{
    closed, hook_taken, published, pusher_taken, readiness, refused_publish, revoked, taken_back,
    topic_ended, topics_edited,
};
pub(in crate::server) use crate::server::respond::json::{FullResponse, ok};
pub(in crate::server) use crate::server::respond::problem::ApiProblem;
pub(in crate::server) use crate::server::respond::reload::{not_reloaded, reloaded};

pub(in crate::server) use crate::server::respond::public::{
    STREAM_HEADERS, close_connection, not_forwarded, not_let_in, page_change_failed, page_presence,
    preflight, published_by_page, refused, renewed, stream_head, too_many_requests, with_request_id,
};
