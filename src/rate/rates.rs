//! The limits of the whole daemon.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::pace::Quota;
use crate::rate::limit::RateLimit;
use crate::rate::network::ClientNetwork;

/// How often who may do what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateSettings {
    pub requests_per_address: Quota,
    pub openings_per_address: Quota,
    pub openings_per_user: Quota,
    pub publishes_per_key: Quota,
    pub page_publishes: Quota,
    pub page_presence: Quota,
    /// How many keys each of them keeps count of.
    pub keys: usize,
    /// How much of an IPv6 address counts.
    pub ipv6_prefix: u8,
}

/// What all listeners ask.
pub struct Rates {
    pub requests_per_address: RateLimit,
    pub openings_per_address: RateLimit,
    pub openings_per_user: RateLimit,
    pub publishes_per_key: RateLimit,
    /// By user, or what else is known of a caller.
    pub page_publishes: RateLimit,
    pub page_presence: RateLimit,
    ipv6_prefix: AtomicU8,
}

impl RateSettings {
    /// No limit at all.
    pub const NONE: Self = Self {
        requests_per_address: Quota::UNLIMITED,
        openings_per_address: Quota::UNLIMITED,
        openings_per_user: Quota::UNLIMITED,
        publishes_per_key: Quota::UNLIMITED,
        page_publishes: Quota::UNLIMITED,
        page_presence: Quota::UNLIMITED,
        keys: 0,
        ipv6_prefix: 64,
    };
}

impl Rates {
    pub fn new(settings: &RateSettings) -> Self {
        let limit = |what, by, quota| RateLimit::new(what, by, quota, settings.keys);
        Self {
            requests_per_address: limit("requests", "address", settings.requests_per_address),
            openings_per_address: limit("openings", "address", settings.openings_per_address),
            openings_per_user: limit("openings", "user", settings.openings_per_user),
            publishes_per_key: limit("publishes", "key", settings.publishes_per_key),
            page_publishes: limit("page_publishes", "user", settings.page_publishes),
            page_presence: limit("page_presence", "user", settings.page_presence),
            ipv6_prefix: AtomicU8::new(settings.ipv6_prefix),
        }
    }

    /// From now on these hold.
    pub fn set(&self, settings: &RateSettings) {
        for (limit, quota) in [
            (&self.requests_per_address, settings.requests_per_address),
            (&self.openings_per_address, settings.openings_per_address),
            (&self.openings_per_user, settings.openings_per_user),
            (&self.publishes_per_key, settings.publishes_per_key),
            (&self.page_publishes, settings.page_publishes),
            (&self.page_presence, settings.page_presence),
        ] {
            limit.set(quota, settings.keys);
        }
        self.ipv6_prefix.store(settings.ipv6_prefix, Ordering::Relaxed);
    }

    /// What counts as one address.
    pub fn network(&self, address: IpAddr) -> ClientNetwork {
        ClientNetwork::of(address, self.ipv6_prefix.load(Ordering::Relaxed))
    }
}
