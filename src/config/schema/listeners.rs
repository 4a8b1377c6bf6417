//! What the listeners are together: no address twice, and no backend that is one of them.

use crate::config::listen_address::ListenAddress;
use crate::config::problem::{BadConfig, Severity};
use crate::config::schema::{Dashboard, Internal, Public};
use crate::config::section_reader::SectionReader;

/// The listener that requests to the backend would come back to, and that as a sentence.
fn loops(public: &Public, internal: &Internal) -> Option<(&'static str, String)> {
    let backend = &public.backend;
    let own = |addresses: &[ListenAddress]| addresses.iter().any(|address| address.is_reached_as(backend));
    let names = [("public", &public.listen), ("internal", &internal.listen)];
    let (name, _) = names.into_iter().find(|(_, addresses)| own(addresses))?;
    Some((name, format!("the backend {backend} is sidestream's own {name} listener")))
}

/// Refuses a backend that is one of the addresses that are listened on.
pub(super) fn refuse_loop(public: &Public, internal: &Internal) -> Result<(), BadConfig> {
    match loops(public, internal) {
        Some((_, message)) => Err(BadConfig::unusable("public.backend", message)),
        None => Ok(()),
    }
}

/// Complains of listeners that take each other's address, and of a backend that is this daemon.
pub(super) fn check_addresses(s: &mut SectionReader<'_, '_>, public: &Public, internal: &Internal) {
    for (name, list) in [("public", &public.listen), ("internal", &internal.listen)] {
        let twice = list.iter().enumerate().find_map(|(at, one)| {
            list[..at].iter().find(|before| before.overlaps(one)).map(|before| (before, one))
        });
        if let Some((before, one)) = twice {
            s.report(
                &[&format!("{name}.listen")],
                format!("the {name} listener cannot have both {before} and {one}"),
                Some("one of them has the other's connections already: leave one out".to_owned()),
            );
        }
    }
    // Who has set `PORT` for the application has not chosen this address.
    let port = s.is_of_the_platform("public.listen");
    let at = public.listen.first().filter(|_| port);
    let by_port = at.map(|at| format!(": the variable PORT puts the public one at {at}")).unwrap_or_default();
    let cure = |cure: &str| match port {
        true => "if PORT is the application's, unset it for sidestream, or say where sidestream listens: \
                 public.listen, or --listen"
            .to_owned(),
        false => cure.to_owned(),
    };
    let is_public = |address: &&ListenAddress| public.listen.iter().any(|public| public.overlaps(address));
    if let Some(address) = internal.listen.iter().find(is_public) {
        s.report(
            &["internal.listen", "public.listen"],
            format!("the public and the internal listener cannot share {address}{by_port}"),
            Some(cure("the internal listener takes what is published: give it an address of its own")),
        );
    }
    if let Some((name, message)) = loops(public, internal) {
        let elsewhere = "give the address of the application, or listen on another port";
        let (message, cure) = match name {
            "public" => (message + &by_port, cure(elsewhere)),
            _ => (message, elsewhere.to_owned()),
        };
        s.report(&["public.backend", &format!("{name}.listen")], message, Some(cure));
    }
}

/// Warns of an internal listener that others can reach.
pub(super) fn warn_of_reachable_listener(
    s: &mut SectionReader<'_, '_>,
    internal: &Internal,
    dashboard: &Dashboard,
) {
    let Some(listen) = internal.listen.iter().find(|listen| listen.is_beyond_this_machine()) else {
        return;
    };
    s.warn(
        Severity::Advice,
        &["internal.listen"],
        format!("the internal listener, {listen}, can be reached from other machines"),
        "let a firewall or a network of its own keep others away from it",
    );
    if dashboard.is_on() && internal.tls.is_none() {
        s.warn(
            Severity::Advice,
            &["dashboard.keys", "dashboard.read_keys", "internal.listen"],
            "the dashboard's keys travel unencrypted to the internal listener, which has no TLS",
            "reach it through an SSH tunnel to a loopback address, or a proxy with TLS",
        );
    }
}
