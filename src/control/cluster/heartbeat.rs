//! This instance's own voice on the control channel: every second that it lives, and at the end goodbye.
//!
//! One task tells everything of this kind, one thing after the other, so that the others hear it in its order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::control::bus::OthersTold;
use crate::control::cluster::members::{BEAT, Hearing};
use crate::control::cluster::message::BusCommand;
use crate::control::cluster::wire::{Alive, Bye};
use crate::control::presence::EventPublisher;
use crate::control::service::Control;
use crate::shutdown::Drain;
use crate::telemetry::INSTANCES;

/// How often it is looked who is silent.
const LOOK: Duration = Duration::from_millis(250);

/// An instance that is isolated for so long says so in its log.
const WARN: Duration = Duration::from_secs(10);

/// The last sign of life.
struct LastBeat {
    /// The others do not know of this instance yet.
    new: bool,
    at: Instant,
}

impl Control {
    /// Lives among the others, by tasks of `drain`, until it starts: then says what is left to say, and goodbye. To be
    /// called once, after [`Control::connect`]; without a bus there are no others. What presence speaks goes by
    /// `voice`.
    pub fn live(self: &Arc<Self>, voice: Arc<dyn EventPublisher>, drain: &Drain) {
        self.presence.tell_topics();
        drain.spawn_essential("presence", Arc::clone(&self.presence).gather_all(drain.clone()));
        self.presence.announce_all(voice, drain);
        drain.spawn_essential("instances", Arc::clone(self).check_members(drain.clone()));
        if self.bus.get().is_some() {
            drain.spawn_essential("heartbeat", Arc::clone(self).beat(drain.clone()));
        }
    }

    async fn beat(self: Arc<Self>, drain: Drain) {
        let mut every = interval(BEAT);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said = LastBeat { new: true, at: Instant::now() };
        loop {
            tokio::select! {
                biased;
                () = drain.started() => break,
                () = self.answer_new.notified() => self.say_alive(&mut said).await,
                _ = every.tick() => self.say_alive(&mut said).await,
                () = self.presence.to_tell.notified() => self.tell_people(&mut said).await,
            }
        }
        self.presence.gather();
        self.tell_people(&mut said).await;
        let from = self.instances.me().id.clone();
        let _ = self.tell(BusCommand::Bye(Bye { from }).into_bytes(), None).await;
    }

    async fn say_alive(&self, said: &mut LastBeat) {
        let me = self.instances.me();
        let people = Some(self.presence.summary());
        let alive = Alive { from: me.id.clone(), name: me.name.clone(), new: said.new, people };
        // An instance that does not hear it finds out by the silence.
        let told = self.tell(BusCommand::Alive(alive).into_bytes(), None).await;
        said.new &= told != OthersTold::Yes;
        said.at = Instant::now();
    }

    /// Tells what there is to tell of people, and between two messages, when it is time, that this instance lives.
    async fn tell_people(&self, said: &mut LastBeat) {
        for want in self.presence.to_ask() {
            let _ = self.tell(want.into_bytes(), None).await;
        }
        for piece in self.presence.everybody().into_iter().flatten() {
            // What is lost is noticed by its number, and asked for.
            let _ = self.tell(piece.into_bytes(), None).await;
            self.say_alive_in_time(said).await;
        }
        while let Some(message) = self.presence.next_message() {
            let _ = self.tell(message.into_bytes(), None).await;
            self.say_alive_in_time(said).await;
        }
    }

    async fn say_alive_in_time(&self, said: &mut LastBeat) {
        if said.at.elapsed() >= BEAT {
            self.say_alive(said).await;
        }
    }

    /// Looks who is silent, and lets time pass for those who may be gone.
    async fn check_members(self: Arc<Self>, drain: Drain) {
        let known = metrics::gauge!(INSTANCES);
        let mut isolated_since: Option<Instant> = None;
        let mut warned = false;
        let mut every = interval(LOOK);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = drain.started() => return,
                _ = every.tick() => {}
            }
            let turn = self.instances.turn(Instant::now());
            for (id, heard) in turn.dead {
                self.presence.left(&id, heard);
            }
            // Without a bus there is nobody to hear.
            let hearing = turn.hearing == Hearing::Yes || self.bus.get().is_none();
            if hearing {
                isolated_since = None;
                if std::mem::take(&mut warned) {
                    info!("other instances are heard again");
                }
            } else if isolated_since.get_or_insert_with(Instant::now).elapsed() >= WARN && !warned {
                warned = true;
                warn!("other instances are not heard: what is known of their users is old, or nothing");
            }
            if self.presence.turn(hearing) {
                self.answer_new.notify_one();
            }
            known.set(self.instances.living().len() as f64);
        }
    }

    /// Hears that an instance lives.
    pub(in crate::control) fn on_alive(&self, alive: &Alive) {
        let me = alive.from == self.instances.me().id;
        let arrived = self.instances.heard(&alive.from, &alive.name, Instant::now());
        if !me
            && self.instances.knows(&alive.from)
            && let Some(people) = alive.people
        {
            self.presence.on_alive(&alive.from, people);
        }
        if arrived || (alive.new && !me) {
            self.answer_new.notify_one();
        }
    }

    /// Hears that an instance has gone.
    pub(in crate::control) fn on_bye(&self, bye: &Bye) {
        if self.instances.left(&bye.from) {
            self.presence.left(&bye.from, Instant::now());
        }
    }
}
