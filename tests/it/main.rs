//! The daemon as its users meet it: every test here drives the real binary from outside.
//!
//! | file | what it is for |
//! |---|---|
//! | `harness/` | starting daemons and the servers around them, and talking to them |
//! | `auth_backend.rs` | the application says who may listen: answers, failures, storms |
//! | `browser.rs` | Chromium, the Express example and Redis, together |
//! | `capture.rs` | answers that are recorded: readers who come back, the same bytes for them, one request to the backend |
//! | `chaos.rs` | several instances, faults at random, clients that move: every event once and in order, or a `reset` |
//! | `chaos_bridge.rs` | the same for bridged channels, whose appending instance changes |
//! | `cli.rs` | the commands, as a shell runs them: `publish` and `tail`; in `cli/` the others |
//! | `clients.rs` | clients that were not written here |
//! | `collapse.rs` | the application's own streams, read once for all who hear them: who shares, resumes, ends |
//! | `collapse_shared.rs` | the same with one log of several instances: one reads, another goes on |
//! | `config.rs` | the operator's file: what is accepted, and how an error is reported |
//! | `connections.rs` | open streams: listed, counted, closed, on all instances |
//! | `content.rs` | what applications publish already, mapped by its content |
//! | `cors.rs` | pages of other origins: who may open a stream and read it |
//! | `dashboard.rs` | the dashboard: who may see it and act, its numbers, its page in a browser |
//! | `dead_peers.rs` | peers that vanish silently |
//! | `demo.rs` | `demo`: what its page may ask for, the acts, the lines that it prints |
//! | `demo_page.rs` | `demo`: its page in Chromium |
//! | `deploy.rs` | alert rules, dashboard and service unit, against the code and their own tools; the container's files, run without an engine |
//! | `deploys.rs` | reloads and a restart under load, noticed by nobody |
//! | `doctor.rs` | `doctor`: what stands between pages and streams, named in front of proxies that are set up wrong |
//! | `doors.rs` | clients that would hold the listeners up; the two questions of readiness |
//! | `ends.rs` | streams that the daemon ends by itself: idle ones, the oldest of a user who has too many |
//! | `foreign_publishers.rs` | frameworks and libraries that publish as they always do, into pages that stay as they are |
//! | `given.rs` | what users and sessions are given, with the log in a Redis stream: one place on every instance, kept over restarts |
//! | `history.rs` | what the log keeps of a topic, where it ends, and the results of a publish for each event |
//! | `hooks.rs` | requests of other services that become events: who may send them, what is mapped, what is answered |
//! | `hostile.rs` | requests of strangers and callers that are made to cost, beside honest ones of the same size |
//! | `http2.rs` | HTTP/2 on the public listener |
//! | `instances.rs` | instances that know of each other, and notice one that dies |
//! | `internal.rs` | the internal listener: keys, bounds, methods, health, metrics |
//! | `internal_tls.rs` | the internal listener over TLS, and certificates of clients |
//! | `jwt.rs` | callers with tokens: where they come from, what they open; key sets; `token` |
//! | `layout.rs` | routes that look differently behind one daemon: layouts, data as tables give them, the topic on the wire |
//! | `listeners.rs` | several addresses, Unix sockets and their files, sockets that are passed, `PORT` |
//! | `log_lines.rs` | the lines of single streams, requests and publishes |
//! | `log_readers.rs` | readers of the log that stall or go, a full disk |
//! | `mcp.rs` | the Model Context Protocol's Python SDK through a route that is not captured: cancelled calls end at once |
//! | `membership.rs` | topics given to users, sessions and clients while streams are open |
//! | `meta.rs` | what is noted of connections, and where it is shown |
//! | `only_events.rs` | streams that want some events only, by their names |
//! | `openapi.rs` | `docs/openapi.json` against the daemon: schemathesis, methods, who may ask |
//! | `otel.rs` | spans at a scripted collector, with the feature `otel` |
//! | `outbound.rs` | the way to key sets and webhooks through a proxy; issuers that say where their keys are |
//! | `own_words.rs` | what only the stream itself may say, and half of what a publisher said: by every door |
//! | `packaging.rs` | what is packed for a release: the crate, parts of the Debian package, the npm package's wrapper, versions |
//! | `page_rights.rs` | what pages may beside listening: publish to topics of their grant, see who is there |
//! | `page_topics.rs` | topics that pages change of their own streams: what it costs others, how often, by whose token |
//! | `pages.rs` | the first configuration and commands of every page, run as they stand |
//! | `patterns.rs` | streams that ask for topics by a pattern: live, replay, grants, given topics, two instances |
//! | `poll.rs` | answers that pages ask for again and again, asked for once: changes, patches, failures, who shares |
//! | `poll_shared.rs` | the same with one log of several instances: one asks, another goes on |
//! | `presence.rs` | who is online, on all instances, and the events of users that come and go |
//! | `proxies.rs` | docs/proxies.md: its configurations, run as they stand |
//! | `proxy.rs` | what goes on to the backend, and how its answers come back |
//! | `proxy_protocol.rs` | connections that HAProxy passes on, and whose they are |
//! | `publish.rs` | what `POST /publish` takes and refuses, and what reaches the streams |
//! | `publishers.rs` | publishers with bounds, their keys and tokens; the internal listener's names |
//! | `pusher.rs` | Pusher's own server libraries, with the daemon as their host |
//! | `rates.rs` | rates of requests, openings and publishes; one address that floods |
//! | `real_streams.rs` | sse-starlette, Django and Express, whose own streams many hear for one through restarts |
//! | `redis.rs` | events over Redis channels: what reaches the streams |
//! | `redis_away.rs` | what happens when Redis goes and comes, hangs, or refuses |
//! | `redis_bridge.rs` | channels bridged into the stream: one id, one appender, changes of it |
//! | `redis_faults.rs` | replicas, refusals, entries lost between two looks, clocks that differ |
//! | `redis_groups.rs` | several Redis: Sentinels that fail over, a Cluster that moves slots |
//! | `redis_login.rs` | certificates, keys and names of a Redis of one's own; users, passwords and files that change |
//! | `redis_requests.rs` | requests that a backend sends over Redis |
//! | `redis_stream.rs` | the log in a Redis stream: one id everywhere, restarts, moves, foreign entries |
//! | `redis_stream_away.rs` | the same when Redis, its data or the way to it goes |
//! | `redis_tls.rs` | Redis over TLS |
//! | `reload.rs` | the configuration read anew: what is taken up, what stays, what is said of it |
//! | `replacing.rs` | docs/replacing.md: its code in every language |
//! | `request_marks.rs` | a request's id and its place in a trace, from the client to the backend and into the log |
//! | `resources.rs` | memory and descriptors that run out: who is turned away, and who goes on |
//! | `rights.rs` | for how long a stream's rights are looked at, and what a page reads that has none |
//! | `secrets.rs` | planted secrets, and where they must not be read |
//! | `shapes.rs` | event shapes of older applications, history, coalescing |
//! | `signed.rs` | names of streams that Rails has signed |
//! | `since.rs` | fresh streams that begin in the past: at a time, with the last events of each topic |
//! | `snapshots.rs` | streams that begin with the newest event of each key, and go on without a seam |
//! | `soak.rs` | many comings and goings leave nothing behind |
//! | `stopping.rs` | what goes on while the daemon stops, and what a service manager hears |
//! | `streams.rs` | opening, resuming and ending a stream; what stands on the wire |
//! | `takeover.rs` | a successor at the same port |
//! | `taking_back.rs` | events that are taken back: in no replay any more, on any instance, and told to those who have them |
//! | `tenants.rs` | two tenants, and what must not cross |
//! | `tickets.rs` | tickets: made, redeemed once, known by their cookie |
//! | `tls.rs` | TLS on the public listener: real clients, certificates that are renewed |
//! | `topic_ends.rs` | topics that end: their readers are told and lose them, and later ones do not get them |
//! | `topic_model.rs` | taking back, ends of topics and snapshots by seeded schedules, against a plain model |
//! | `webhooks.rs` | webhooks: what a receiver gets, its signature, receivers that fail, hang and lie |
//! | `while_open.rs` | a grant that ends, is renewed or taken back under an open stream |

#![expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

mod harness;

mod auth_backend;
mod browser;
mod capture;
mod chaos;
mod chaos_bridge;
mod cli;
mod clients;
mod collapse;
mod collapse_shared;
mod config;
mod connections;
mod content;
mod cors;
mod dashboard;
mod dead_peers;
mod demo;
mod demo_page;
mod deploy;
mod deploys;
mod doctor;
mod doors;
mod ends;
mod foreign_publishers;
mod given;
mod history;
mod hooks;
mod hostile;
mod http2;
mod instances;
mod internal;
mod internal_tls;
mod jwt;
mod layout;
mod listeners;
mod log_lines;
mod log_readers;
mod mcp;
mod membership;
mod meta;
mod only_events;
mod openapi;
#[cfg(feature = "otel")]
mod otel;
mod outbound;
mod own_words;
mod packaging;
mod page_rights;
mod page_topics;
mod pages;
mod patterns;
mod poll;
mod poll_shared;
mod presence;
mod proxies;
mod proxy;
mod proxy_protocol;
mod publish;
mod publishers;
mod pusher;
mod rates;
mod real_streams;
mod redis;
mod redis_away;
mod redis_bridge;
mod redis_faults;
mod redis_groups;
mod redis_login;
mod redis_requests;
mod redis_stream;
mod redis_stream_away;
mod redis_tls;
mod reload;
mod replacing;
mod request_marks;
mod resources;
mod rights;
mod secrets;
mod shapes;
mod signed;
mod since;
mod snapshots;
mod soak;
mod stopping;
mod streams;
mod takeover;
mod taking_back;
mod tenants;
mod tickets;
mod tls;
mod topic_ends;
mod topic_model;
mod webhooks;
mod while_open;
