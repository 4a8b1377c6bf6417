//! The shards together: started, given subscribers, asked, drained, stopped.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::asked::{EndThem, RenewIt, Renewal, Renewed, Selector};
use super::batch::wake_politely;
use super::end::End;
use super::mailbox::{Command, Mailbox};
use super::settings::Settings;
use super::shard::Shard;
use super::subscriber::Join;
use crate::event::{Audience, Key};
use crate::log::Log;

/// The shards.
pub struct Fanout {
    shards: Vec<Arc<Mailbox>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Fanout {
    /// Starts the shards' threads.
    pub fn start(log: &Arc<Log>, settings: &Settings) -> io::Result<Self> {
        let mut fanout = Self { shards: Vec::new(), threads: Mutex::default() };
        for number in 0..settings.shards {
            let (shard, mailbox) = Shard::new(Arc::clone(log), settings.clone())?;
            let thread = std::thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
                let _guard = AbortOnPanic;
                if let Err(error) = wake_politely() {
                    tracing::debug!(%error, "a shard keeps the system's usual scheduling");
                }
                shard.run();
            })?;
            fanout.shards.push(mailbox);
            fanout.threads.get_mut().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(fanout)
    }

    /// Hands a subscriber to the shard that has the fewest. It is the shard's from here on.
    pub fn join(&self, subscriber: Join) {
        let fewest = self.shards.iter().min_by_key(|shard| shard.open.load(Ordering::Relaxed));
        let shard = fewest.expect("there is at least one shard");
        shard.open.fetch_add(1, Ordering::Relaxed);
        shard.send(Command::Join(Box::new(subscriber)));
    }

    /// How many open streams of this process hold a key of `audience` and none of the excepted ones.
    pub fn reach(&self, audience: &Audience) -> usize {
        let count =
            |shard: &Arc<Mailbox>| shard.index.lock().unwrap_or_else(PoisonError::into_inner).count(audience);
        self.shards.iter().map(count).sum()
    }

    /// The keys of this process's stream of `client`, if it is open.
    pub fn keys_of(&self, client: &Key) -> Option<Vec<Key>> {
        self.shards.iter().find_map(|shard| {
            let index = shard.index.lock().unwrap_or_else(PoisonError::into_inner);
            index.holders(client).first().map(|&slot| index.keys_of(slot))
        })
    }

    /// Closes the streams that `which` names, and says how many they were.
    pub async fn end(&self, which: &Selector, end: End) -> usize {
        let mut ended = 0;
        for counted in self.ask_to_end(which, end) {
            // A shard that has stopped has no streams.
            ended += counted.await.unwrap_or(0);
        }
        ended
    }

    /// Closes the streams that `which` names, without waiting for it.
    pub fn end_soon(&self, which: &Selector, end: End) {
        drop(self.ask_to_end(which, end));
    }

    /// Asks every shard at once; each tells how many it closed.
    fn ask_to_end(&self, which: &Selector, end: End) -> Vec<oneshot::Receiver<usize>> {
        let ask = |shard: &Arc<Mailbox>| {
            let (count, counted) = oneshot::channel();
            shard.send(Command::End(Box::new(EndThem { which: which.clone(), end, count })));
            counted
        };
        self.shards.iter().map(ask).collect()
    }

    /// Gives the stream of `renewal` its new time, if `judge`, who is shown the keys that it holds, lets it.
    pub async fn renew<E: Send + 'static>(
        &self,
        renewal: Renewal,
        judge: impl FnOnce(&[Key]) -> Result<(), E> + Send + 'static,
    ) -> Renewed<E> {
        let client = Audience::of(Key::Client(renewal.client.clone()));
        let holds = |shard: &&Arc<Mailbox>| {
            shard.index.lock().unwrap_or_else(PoisonError::into_inner).count(&client) > 0
        };
        let Some(shard) = self.shards.iter().find(holds) else { return Renewed::NotHere };
        let (answer, answered) = oneshot::channel();
        let judge = Box::new(move |keys: Option<&[Key]>| {
            let renewed = match keys.map(judge) {
                Some(Ok(())) => Renewed::Yes,
                Some(Err(no)) => Renewed::No(no),
                None => Renewed::NotHere,
            };
            let yes = matches!(renewed, Renewed::Yes);
            // Whoever asked may have gone.
            let _ = answer.send(renewed);
            yes
        });
        shard.send(Command::Renew(Box::new(RenewIt { renewal, judge })));
        answered.await.unwrap_or(Renewed::NotHere)
    }

    /// Closes every stream, spread over `window`; later ones at once. Returns before they are closed.
    pub fn drain(&self, window: Duration) {
        for shard in &self.shards {
            shard.send(Command::Drain(window));
        }
    }

    /// Streams that are open now.
    pub fn open(&self) -> usize {
        self.shards.iter().map(|shard| shard.open.load(Ordering::Relaxed)).sum()
    }

    /// Closes what is still open and ends the threads.
    pub fn stop(&self) {
        for shard in &self.shards {
            shard.send(Command::Stop);
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Drop for Fanout {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Ends the process when a shard panics: its streams would hang without a sign, and everything else look well.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a shard failed; its streams are lost, so the process ends");
            std::process::abort();
        }
    }
}
