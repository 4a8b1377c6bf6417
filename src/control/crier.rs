//! This instance's own voice on the control channel: every second that it lives, and at the end goodbye.
//!
//! One task tells everything of this kind, one thing after the other, so that the others hear it in its order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

use super::Control;
use super::command::Command;
use super::instances::{BEAT, InstanceId};
use crate::shutdown::Drain;
use crate::telemetry::INSTANCES;

/// How often it is looked who is silent.
const LOOK: Duration = Duration::from_millis(250);

/// An instance lives.
#[derive(Serialize, Deserialize)]
pub(super) struct Alive {
    pub(super) from: InstanceId,
    pub(super) name: String,
    /// It has just come: whoever hears it says at once that it lives, too.
    #[serde(default)]
    pub(super) new: bool,
}

/// An instance says goodbye.
#[derive(Serialize, Deserialize)]
pub(super) struct Bye {
    pub(super) from: InstanceId,
}

impl Control {
    /// Lives among the others, by tasks of `life`, until it starts: then says goodbye. To be called once, after
    /// [`Control::connect`]; without a bus there are no others.
    pub fn live(self: &Arc<Self>, life: &Drain) {
        life.spawn(Arc::clone(self).cry(life.clone()));
        life.spawn(Arc::clone(self).look(life.clone()));
    }

    async fn cry(self: Arc<Self>, life: Drain) {
        if self.bus.get().is_none() {
            return;
        }
        let mut every = interval(BEAT);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut new = true;
        loop {
            tokio::select! {
                biased;
                () = life.started() => break,
                () = self.answer_new.notified() => {}
                _ = every.tick() => {}
            }
            let me = self.instances.me();
            let alive = Alive { from: me.id.clone(), name: me.name.to_string(), new };
            // Who cannot be told finds out by the silence.
            new &= !matches!(self.tell(Command::Alive(alive).into_bytes(), None).await, Some(Ok(())));
        }
        let from = self.instances.me().id.clone();
        let _ = self.tell(Command::Bye(Bye { from }).into_bytes(), None).await;
    }

    /// Looks who is silent.
    async fn look(self: Arc<Self>, life: Drain) {
        let known = metrics::gauge!(INSTANCES);
        let mut every = interval(LOOK);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = life.started() => return,
                _ = every.tick() => {}
            }
            self.instances.turn(Instant::now());
            known.set(self.instances.living().len() as f64);
        }
    }

    /// Hears that an instance lives.
    pub(super) fn hear_alive(&self, alive: &Alive) {
        let arrived = self.instances.heard(&alive.from, &alive.name, Instant::now());
        if arrived || (alive.new && alive.from != self.instances.me().id) {
            self.answer_new.notify_one();
        }
    }

    /// Hears that an instance has gone.
    pub(super) fn hear_bye(&self, bye: &Bye) {
        self.instances.left(&bye.from);
    }
}
