//! The dashboard on the internal listener: its page and files, signing in, and what the page asks.
//!
//! Who is asked for a key, and what it may, is decided here; the rest of the listener's routes stand behind
//! `/dashboard/api`, for a signed-in page as for a publish key. The page is answered to anybody: it holds nothing.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use http::request::Parts;
use http::{Method, Response, Uri};
use serde::Deserialize;
use serde_json::json;

use crate::config::Secret;
use crate::control::MAX_TOPICS;
use crate::dashboard::{May, NotSignedIn};
use crate::server::internal::body::ReadableBody;
use crate::server::internal::caller::Authenticated;
use crate::server::internal::dashboard_parts::Dashboard;
use crate::server::internal::hosts::comes_from_elsewhere;
use crate::server::internal::listener::Internal;
use crate::server::internal::query::QueryParams;
use crate::server::internal::routes;
use crate::server::internal::routes::{DashboardHandler, Handler, RouteMatch};
use crate::server::internal::{explain, live};
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse, InternalBody};
use crate::web;

/// What begins the paths of the listener's other routes.
const API: &str = "/dashboard/api";

/// Topics on a page without `limit`.
const TOPICS: usize = 200;

/// Whether the path is one of this file's.
pub(super) fn is_ours(path: &str) -> bool {
    path == "/" || path.starts_with("/assets/") || path.starts_with("/dashboard/")
}

impl Internal {
    /// Answers a request to one of the dashboard's paths.
    pub(super) async fn dashboard(
        &self,
        head: &Parts,
        body: impl ReadableBody,
        peer: IpAddr,
    ) -> Result<Response<InternalBody>, ApiProblem> {
        if !self.hosts.know(head) {
            return Err(ApiProblem::unknown_host());
        }
        let found = routes::find(head.uri.path()).ok_or_else(ApiProblem::no_route)?;
        let Some(handler) = found.route.handler(&head.method) else {
            return Err(ApiProblem::method_not_allowed(&found.route.allowed()));
        };
        if comes_from_elsewhere(head) {
            return Err(ApiProblem::from_another_page());
        }
        let dashboard = self.dashboard.as_ref().ok_or_else(ApiProblem::dashboard_off)?;
        let full = |answer: FullResponse| Ok(whole(answer));
        let handler = match handler {
            Handler::Page => return full(web::DASHBOARD.answer(&head.headers)),
            Handler::PageFile => {
                let name = head.uri.path().trim_start_matches("/assets/");
                let file = web::dashboard_file(name).ok_or_else(ApiProblem::no_route)?;
                return full(file.answer(&head.headers));
            }
            Handler::Dashboard(DashboardHandler::SignIn) => {
                let body = self.body.read(body).await?;
                return full(dashboard.sign_in(head, &body, peer)?);
            }
            Handler::Dashboard(handler) => handler,
            _ => return Err(ApiProblem::no_route()),
        };
        let may = match (handler, dashboard.caller(head, peer)) {
            // The page asks whether somebody is signed in: that nobody is, is no error.
            (DashboardHandler::Who, Err(_)) if !head.headers.contains_key(AUTHORIZATION) => {
                return full(respond::ok(&json!({ "may": null })));
            }
            (_, may) => may?,
        };
        if handler == DashboardHandler::Api {
            return full(self.for_the_page(head, body, may).await?);
        }
        self.signed_in(dashboard, (handler, &found), head, body, may).await
    }

    /// Answers somebody who is signed in, or asks whether they are.
    async fn signed_in(
        &self,
        dashboard: &Dashboard,
        (handler, found): (DashboardHandler, &RouteMatch<'_>),
        head: &Parts,
        body: impl ReadableBody,
        may: May,
    ) -> Result<Response<InternalBody>, ApiProblem> {
        let full = |answer: FullResponse| Ok(whole(answer));
        let mut names = found.names()?.into_iter();
        let mut query = QueryParams::parse(head.uri.query())?;
        match handler {
            DashboardHandler::Who => full(respond::ok(&json!({
                "may": may.as_str(),
                "identity": &*dashboard.board.identity(),
            }))),
            DashboardHandler::SignOut => {
                if let Some(seal) = cookie(head) {
                    dashboard.keys.sign_out(&seal);
                }
                full(respond::signed_out(&cookie_name(head)))
            }
            DashboardHandler::Watch => {
                let watching = dashboard.board.watch().ok_or_else(ApiProblem::too_many_watch)?;
                Ok(respond::events(live::watch(watching, &self.close)))
            }
            DashboardHandler::Live => {
                let topic = names.next().ok_or_else(ApiProblem::no_route)?;
                let seat = dashboard.board.seat().ok_or_else(ApiProblem::too_many_watch)?;
                let (log, fanout) = (Arc::clone(&self.log), self.control.fanout());
                Ok(respond::events(live::topic(log, fanout, topic, seat, &self.close)))
            }
            DashboardHandler::Topics => {
                let search = query.text("search").unwrap_or_default();
                let limit = query.number("limit", 1, MAX_TOPICS)?.unwrap_or(TOPICS);
                query.end()?;
                full(respond::ok(&self.topics.page(&search, limit).await))
            }
            DashboardHandler::Configuration => {
                query.end()?;
                full(respond::ok(&json!({ "settings": dashboard.in_force })))
            }
            DashboardHandler::Explain => {
                query.end()?;
                let body = self.body.read(body).await?;
                full(explain::answer(dashboard, &self.control, &body).await?)
            }
            // Answered before.
            DashboardHandler::SignIn | DashboardHandler::Api => Err(ApiProblem::no_route()),
        }
    }

    /// Answers a request to one of the listener's other routes.
    async fn for_the_page(
        &self,
        head: &Parts,
        body: impl ReadableBody,
        may: May,
    ) -> Result<FullResponse, ApiProblem> {
        if may < May::Act && !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(ApiProblem::may_only_look());
        }
        let mut inner = head.clone();
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        let target = target.strip_prefix(API).unwrap_or_default();
        inner.uri = target.parse::<Uri>().map_err(|_| ApiProblem::no_route())?;
        let path = inner.uri.path();
        // A ticket is somebody else's identity, which no page is to have.
        if is_ours(path) || path == "/tickets" {
            return Err(ApiProblem::no_route());
        }
        if !matches!(head.method, Method::GET | Method::HEAD) {
            tracing::info!(method = %head.method, "somebody acts from the dashboard");
        }
        self.dispatch(&inner, body, Authenticated::FromDashboard).await
    }
}

impl Dashboard {
    fn sign_in(&self, head: &Parts, body: &[u8], peer: IpAddr) -> Result<FullResponse, ApiProblem> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct SignInFields {
            key: String,
        }
        let fields: SignInFields = serde_json::from_slice(body).map_err(|_| ApiProblem::bad_sign_in())?;
        let key = Secret::new(fields.key.trim());
        let signed = self.keys.sign_in(key.expose().as_bytes(), peer).map_err(ApiProblem::not_signed_in)?;
        tracing::info!(%peer, may = signed.may.as_str(), "somebody has signed in to the dashboard");
        // A browser that reached us through a proxy with TLS says so.
        let origin = head.headers.get(ORIGIN).map_or(&b""[..], |origin| origin.as_bytes());
        Ok(respond::signed_in(&cookie_name(head), &signed, origin.starts_with(b"https://")))
    }

    /// Who asks: by a key in the header, or by having signed in.
    fn caller(&self, head: &Parts, peer: IpAddr) -> Result<May, ApiProblem> {
        if let Some(field) = head.headers.get(AUTHORIZATION) {
            let (scheme, key) = field.as_bytes().split_at_checked(7).unwrap_or_default();
            if !scheme.eq_ignore_ascii_case(b"Bearer ") {
                return Err(ApiProblem::not_signed_in(NotSignedIn::Missing));
            }
            return self.keys.check(key.trim_ascii(), peer).map_err(ApiProblem::not_signed_in);
        }
        let seal = cookie(head).ok_or_else(|| ApiProblem::not_signed_in(NotSignedIn::Missing))?;
        let may = self.keys.signed_in(&seal).map_err(ApiProblem::not_signed_in)?;
        // Every browser that is in use says where a request that changes something comes from.
        let says = ["origin", "sec-fetch-site"].iter().any(|name| head.headers.contains_key(*name));
        if !says && !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(ApiProblem::from_another_page());
        }
        Ok(may)
    }
}

/// The cookie's name: of the host and port that the browser asks, because cookies themselves know no ports.
fn cookie_name(head: &Parts) -> String {
    let host = head.headers.get(HOST).map_or(&b""[..], |host| host.as_bytes());
    let hash =
        host.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("sidestream-{hash:08x}")
}

fn cookie(head: &Parts) -> Option<String> {
    let name = cookie_name(head);
    let fields = head.headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
}

/// For the body of an answer that is complete.
pub(super) fn whole(answer: FullResponse) -> Response<InternalBody> {
    answer.map(respond::full)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(host: &str, cookies: &[&str]) -> Parts {
        let request = Request::get("/dashboard/session").header(HOST, host);
        let request = cookies.iter().fold(request, |request, field| request.header(COOKIE, *field));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn two_daemons_on_one_machine_do_not_share_a_cookie() {
        let (one, other) =
            (cookie_name(&head("127.0.0.1:8081", &[])), cookie_name(&head("127.0.0.1:8083", &[])));
        assert_ne!(one, other);
        let both = format!("a=b; {other}=x; {one}=y");
        assert_eq!(cookie(&head("127.0.0.1:8081", &[&both])).as_deref(), Some("y"));
        assert_eq!(cookie(&head("127.0.0.1:8083", &["a=b", &both])).as_deref(), Some("x"));
        assert_eq!(cookie(&head("127.0.0.1:8085", &[&both])), None);
    }
}
