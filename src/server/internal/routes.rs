//! What there is on the internal listener: every path, its methods, and what answers each of them, once.
//!
//! A path that is not in this list is nowhere. The description in `docs/openapi.json` is held against it by a test.

use http::Method;

use crate::event::{Key, Name};
use crate::health::ReadyFor;
use crate::server::respond::ApiProblem;

/// What answers a method of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Handler {
    Publish,
    Revoke,
    Reload,
    MintTicket,
    Hook,
    /// With a batch or one event.
    Pusher {
        batch: bool,
    },
    /// What a Pusher library asks.
    PusherReads(PusherRead),
    Liveness,
    Readiness(ReadyFor),
    Metrics,
    Description,
    Position,
    Topics(Holder, TopicsHandler),
    TopicEvents,
    TakeBackEvent,
    TakeBackTopic,
    CloseTopic,
    OpenTopic,
    Connections,
    CloseConnections,
    ConnectionCount,
    Connection,
    CloseConnection,
    CloseConnectionsOf(Holder),
    Captures,
    StopCapture,
    PollNow,
    Presence,
    PresentUsers,
    ArePresent,
    UserPresence,
    TopicPresence,
    /// The dashboard's page.
    Page,
    /// What the page loads.
    PageFile,
    Dashboard(DashboardHandler),
}

/// What the dashboard's page asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DashboardHandler {
    Who,
    SignIn,
    SignOut,
    Watch,
    Live,
    Topics,
    Configuration,
    Explain,
    /// One of the other routes.
    Api,
}

/// What a Pusher library asks of an app.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PusherRead {
    Channels,
    Channel,
    Users,
}

/// What is done with the topics of a holder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TopicsHandler {
    Get,
    /// The body is the new set.
    Set,
    /// The body says what is added and removed.
    Change,
    Clear,
    /// The topic that the path names.
    Add,
    Remove,
}

/// Who a path below `/users`, `/sessions` or `/clients` is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Holder {
    User,
    Session,
    Client,
}

impl Holder {
    pub(super) fn key(self, name: Name) -> Key {
        match self {
            Self::User => Key::User(name),
            Self::Session => Key::Session(name),
            Self::Client => Key::Client(name),
        }
    }
}

/// Who may ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// Everybody who can reach the listener.
    Open,
    /// Who shows a key without bounds, before anything else of the request is looked at.
    Key,
    /// The handler has rules of its own.
    Own,
}

/// A path and its methods.
#[derive(Clone, Copy, Debug)]
pub(super) struct ApiRoute {
    /// A segment in braces stands for any text; the last one for all that is left.
    pub(super) path: &'static str,
    pub(super) access: Access,
    /// The last text has no slash in it.
    one_segment: bool,
    get: Option<Handler>,
    put: Option<Handler>,
    post: Option<Handler>,
    patch: Option<Handler>,
    delete: Option<Handler>,
}

/// A path that is found, and the texts that its braces stand for, as they stand in the path.
pub(super) struct RouteMatch<'a> {
    pub(super) route: &'static ApiRoute,
    values: Vec<&'a str>,
}

/// The one that is asked most.
pub(super) static PUBLISH: ApiRoute = at("/publish").access(Access::Own).post(Handler::Publish);

static ROUTES: &[ApiRoute] = {
    use DashboardHandler::{Api, Configuration, Explain, Live, SignIn, SignOut, Watch, Who};
    use Handler::{
        ArePresent, Captures, CloseConnection, CloseConnections, CloseConnectionsOf, CloseTopic, Connection,
        ConnectionCount, Connections, Dashboard, Description, Hook, Liveness, Metrics, MintTicket, OpenTopic,
        Page, PageFile, PollNow, Position, Presence, PresentUsers, Pusher, PusherReads, Readiness, Reload,
        Revoke, StopCapture, TakeBackEvent, TakeBackTopic, TopicEvents, TopicPresence, UserPresence,
    };
    use Holder::{Client, Session, User};
    &[
        at("/publish").access(Access::Own).post(Handler::Publish),
        at("/revoke").post(Revoke),
        at("/reload").post(Reload),
        at("/tickets").access(Access::Own).post(MintTicket),
        at("/hooks/{hook}").access(Access::Own).post(Hook),
        at("/apps/{app}/events").access(Access::Own).post(Pusher { batch: false }),
        at("/apps/{app}/batch_events").access(Access::Own).post(Pusher { batch: true }),
        at("/apps/{app}/channels").access(Access::Own).get(PusherReads(PusherRead::Channels)),
        at("/apps/{app}/channels/{channel}/users").access(Access::Own).get(PusherReads(PusherRead::Users)),
        at("/apps/{app}/channels/{channel}").access(Access::Own).get(PusherReads(PusherRead::Channel)),
        at("/healthz").access(Access::Open).get(Liveness),
        at("/readyz").access(Access::Open).get(Readiness(ReadyFor::Serving)),
        at("/readyz/events").access(Access::Open).get(Readiness(ReadyFor::Events)),
        at("/metrics").access(Access::Open).get(Metrics),
        at("/openapi.json").access(Access::Open).get(Description),
        at("/position").get(Position),
        topics("/users/{user}/topics", User),
        topic("/users/{user}/topics/{topic}", User),
        topics("/sessions/{session}/topics", Session),
        topic("/sessions/{session}/topics/{topic}", Session),
        topics("/clients/{client}/topics", Client),
        topic("/clients/{client}/topics/{topic}", Client),
        at("/topics/{topic}/events").get(TopicEvents),
        at("/topics/{topic}/events/{id}").access(Access::Own).delete(TakeBackEvent),
        at("/topics/{topic}/close").access(Access::Own).post(CloseTopic),
        at("/topics/{topic}/open").access(Access::Own).post(OpenTopic),
        at("/topics/{topic}").access(Access::Own).one_segment().delete(TakeBackTopic),
        at("/connections").get(Connections).delete(CloseConnections),
        at("/connections/count").get(ConnectionCount),
        at("/connections/{client}").get(Connection).delete(CloseConnection),
        at("/users/{user}/connections").delete(CloseConnectionsOf(User)),
        at("/sessions/{session}/connections").delete(CloseConnectionsOf(Session)),
        at("/captures").get(Captures),
        at("/captures/{capture}").delete(StopCapture),
        at("/poll/{path}").post(PollNow),
        at("/").access(Access::Own).get(Page),
        at("/assets/{file}").access(Access::Own).get(PageFile),
        dashboard("/dashboard/session")
            .get(Dashboard(Who))
            .post(Dashboard(SignIn))
            .delete(Dashboard(SignOut)),
        dashboard("/dashboard/events").get(Dashboard(Watch)),
        dashboard("/dashboard/live/{topic}").get(Dashboard(Live)),
        dashboard("/dashboard/topics").get(Dashboard(DashboardHandler::Topics)),
        dashboard("/dashboard/configuration").get(Dashboard(Configuration)),
        dashboard("/dashboard/explain").post(Dashboard(Explain)),
        dashboard("/dashboard/api/{path}")
            .get(Dashboard(Api))
            .put(Dashboard(Api))
            .post(Dashboard(Api))
            .patch(Dashboard(Api))
            .delete(Dashboard(Api)),
        at("/presence").get(Presence),
        at("/presence/users").get(PresentUsers).post(ArePresent),
        at("/presence/users/{user}").get(UserPresence),
        at("/presence/topics/{topic}").get(TopicPresence),
    ]
};

const fn at(path: &'static str) -> ApiRoute {
    ApiRoute {
        path,
        access: Access::Key,
        one_segment: false,
        get: None,
        put: None,
        post: None,
        patch: None,
        delete: None,
    }
}

const fn dashboard(path: &'static str) -> ApiRoute {
    at(path).access(Access::Own)
}

const fn topics(path: &'static str, of: Holder) -> ApiRoute {
    at(path)
        .get(Handler::Topics(of, TopicsHandler::Get))
        .put(Handler::Topics(of, TopicsHandler::Set))
        .post(Handler::Topics(of, TopicsHandler::Change))
        .patch(Handler::Topics(of, TopicsHandler::Change))
        .delete(Handler::Topics(of, TopicsHandler::Clear))
}

const fn topic(path: &'static str, of: Holder) -> ApiRoute {
    at(path).put(Handler::Topics(of, TopicsHandler::Add)).delete(Handler::Topics(of, TopicsHandler::Remove))
}

impl ApiRoute {
    const fn access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// A path that goes on is another: a part of one that is forgotten must not mean more.
    const fn one_segment(self) -> Self {
        Self { one_segment: true, ..self }
    }

    /// `HEAD` goes with it.
    const fn get(self, handler: Handler) -> Self {
        Self { get: Some(handler), ..self }
    }

    const fn put(self, handler: Handler) -> Self {
        Self { put: Some(handler), ..self }
    }

    const fn post(self, handler: Handler) -> Self {
        Self { post: Some(handler), ..self }
    }

    const fn patch(self, handler: Handler) -> Self {
        Self { patch: Some(handler), ..self }
    }

    const fn delete(self, handler: Handler) -> Self {
        Self { delete: Some(handler), ..self }
    }

    /// What answers `method`.
    pub(super) fn handler(&self, method: &Method) -> Option<Handler> {
        match *method {
            Method::GET | Method::HEAD => self.get,
            Method::PUT => self.put,
            Method::POST => self.post,
            Method::PATCH => self.patch,
            Method::DELETE => self.delete,
            _ => None,
        }
    }

    /// The methods, as they stand in the header `Allow`.
    pub(super) fn allowed(&self) -> String {
        let methods = [
            (self.get, "GET, HEAD"),
            (self.put, "PUT"),
            (self.post, "POST"),
            (self.patch, "PATCH"),
            (self.delete, "DELETE"),
        ];
        let allowed: Vec<&str> =
            methods.iter().filter(|(handler, _)| handler.is_some()).map(|(_, method)| *method).collect();
        allowed.join(", ")
    }
}

/// The first route whose path `path` fits.
pub(super) fn find(path: &str) -> Option<RouteMatch<'_>> {
    ROUTES.iter().find_map(|route| {
        let values = values(route.path, path)?;
        let goes_on = values.last().is_some_and(|last| last.contains('/'));
        (!(route.one_segment && goes_on)).then_some(RouteMatch { route, values })
    })
}

impl RouteMatch<'_> {
    /// What the last braces stand for, as it stands in the path.
    pub(super) fn last(&self) -> &str {
        self.values.last().copied().unwrap_or_default()
    }

    /// The names in the path, decoded.
    pub(super) fn names(&self) -> Result<Vec<Name>, ApiProblem> {
        let mut segments = self.route.path.split('/');
        let mut before = "";
        let mut named = || loop {
            let segment = segments.next()?;
            if segment.starts_with('{') {
                return Some(before);
            }
            before = segment;
        };
        let decode = |text: &&str| {
            let segment = named().unwrap_or_default();
            let text = percent_encoding::percent_decode_str(text).decode_utf8();
            let text = text.map_err(|_| ApiProblem::bad_name(segment, "is not UTF-8"))?;
            Name::parse(&text).map_err(|bad| ApiProblem::bad_name(segment, bad))
        };
        self.values.iter().map(decode).collect()
    }
}

fn values<'a>(template: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let mut values = Vec::new();
    let mut rest = path;
    let mut template = template.strip_prefix('/')?.split('/').peekable();
    while let Some(segment) = template.next() {
        rest = rest.strip_prefix('/')?;
        let is_last = template.peek().is_none();
        let end = if is_last { rest.len() } else { rest.find('/')? };
        let (text, more) = rest.split_at(end);
        if segment.starts_with('{') {
            values.push(text);
        } else if segment != text {
            return None;
        }
        rest = more;
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_path_is_of_the_first_template_that_fits() {
        let found = |path| find(path).map(|found| (found.route.path, found.values));
        assert_eq!(found("/publish"), Some(("/publish", vec![])));
        assert_eq!(found("/connections/count"), Some(("/connections/count", vec![])));
        assert_eq!(found("/connections/a%2Fb"), Some(("/connections/{client}", vec!["a%2Fb"])));
        assert_eq!(found("/users/u/topics"), Some(("/users/{user}/topics", vec!["u"])));
        assert_eq!(found("/users/u/topics/a/b"), Some(("/users/{user}/topics/{topic}", vec!["u", "a/b"])));
        assert_eq!(found("/topics/a/events/5-0"), Some(("/topics/{topic}/events/{id}", vec!["a", "5-0"])));
        assert_eq!(found("/topics/a%2Fb"), Some(("/topics/{topic}", vec!["a%2Fb"])));
        assert_eq!(found("/topics//events"), Some(("/topics/{topic}/events", vec![""])));
        for nowhere in ["", "/x", "/publish/", "/users", "/users/u", "/topics/a/b/events", "publish"] {
            assert_eq!(found(nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn a_route_has_the_methods_that_its_row_names_and_head_beside_get() {
        let route = find("/connections/a").unwrap().route;
        assert_eq!(route.allowed(), "GET, HEAD, DELETE");
        assert_eq!(route.handler(&Method::HEAD), Some(Handler::Connection));
        assert_eq!(route.handler(&Method::DELETE), Some(Handler::CloseConnection));
        assert_eq!(route.handler(&Method::PUT), None);
        assert_eq!(route.handler(&Method::OPTIONS), None);
    }

    #[test]
    fn names_in_a_path_are_decoded_and_a_bad_one_is_named() {
        let found = find("/users/a%2Fb/topics/c/d").unwrap();
        let names = found.names().map_err(|_| ()).unwrap();
        assert_eq!(names.iter().map(Name::as_str).collect::<Vec<_>>(), ["a/b", "c/d"]);
        for bad in ["/users//topics", "/users/%ff/topics", "/connections/%00"] {
            assert!(find(bad).unwrap().names().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_description_has_every_path_and_method_and_no_other() {
        let description: serde_json::Value =
            serde_json::from_str(crate::server::internal::openapi::TEXT).unwrap();
        let paths = description["paths"].as_object().unwrap();
        let methods = ["get", "put", "post", "patch", "delete"];
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| {
                let methods = methods.iter().filter(|method| item.get(**method).is_some());
                methods.map(move |method| (path.clone(), method.to_uppercase()))
            })
            .collect();
        let known: BTreeSet<(String, String)> = ROUTES
            .iter()
            .flat_map(|route| {
                let allowed = route.allowed();
                let methods: Vec<String> = allowed.split(", ").map(str::to_owned).collect();
                let methods = methods.into_iter().filter(|method| *method != "HEAD");
                methods.map(|method| (route.path.to_owned(), method))
            })
            .collect();
        assert_eq!(described, known);
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
