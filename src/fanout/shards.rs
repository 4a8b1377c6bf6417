//! The shards together: started, given subscribers, asked, drained, stopped.

use crate::lock::Mutex;
use crate::shutdown::AbortOnPanic;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::event::{Audience, Key, Name};
use crate::fanout::end::CloseReason;
use crate::fanout::mailbox::{Mailbox, ShardCommand};
use crate::fanout::requests::{
    Binding, CloseRequest, CountQuery, Filter, ListQuery, Listed, RenewRequest, Renewal, Renewed, Selector,
    StreamView,
};
use crate::fanout::scheduling::wake_politely;
use crate::fanout::settings::Settings;
use crate::fanout::shard::Shard;
use crate::fanout::subscriber::Join;
use crate::fanout::watcher::Watcher;
use crate::log::Log;

/// The shards.
pub struct Fanout {
    pub(super) shards: Vec<Arc<Mailbox>>,
    pub(super) log: Arc<Log>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Fanout {
    /// Starts the shards' threads.
    pub fn start(log: &Arc<Log>, settings: &Settings) -> io::Result<Self> {
        let mut fanout = Self { shards: Vec::new(), log: Arc::clone(log), threads: Mutex::default() };
        for number in 0..settings.shards {
            let (shard, mailbox) = Shard::new(Arc::clone(log), settings.clone())?;
            let thread = std::thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
                let _guard = AbortOnPanic("shard");
                if let Err(error) = wake_politely() {
                    tracing::debug!(%error, "a shard keeps the system's usual scheduling");
                }
                shard.run();
            })?;
            fanout.shards.push(mailbox);
            fanout.threads.lock().push(thread);
        }
        Ok(fanout)
    }

    /// Hands a subscriber to the shard that has the fewest. It is the shard's from here on.
    pub fn join(&self, subscriber: Join) {
        let fewest = self.shards.iter().min_by_key(|shard| shard.open.load(Ordering::Relaxed));
        let shard = fewest.expect("there is at least one shard");
        shard.open.fetch_add(1, Ordering::Relaxed);
        shard.send(ShardCommand::Join(Box::new(subscriber)));
    }

    /// From now on `watcher` hears of every stream of this process, of those that are open already, too.
    pub fn watch(&self, watcher: &Arc<dyn Watcher>) {
        for shard in &self.shards {
            shard.send(ShardCommand::Watch(Arc::clone(watcher)));
        }
    }

    /// How many open streams of this process `audience` reaches.
    pub fn reach(&self, audience: &Audience) -> usize {
        let patterns = self.log.patterns_of(audience);
        let patterns = patterns.as_deref().unwrap_or_default();
        let count = |shard: &Arc<Mailbox>| shard.index.lock().count(audience, patterns);
        self.shards.iter().map(count).sum()
    }

    /// Closes the streams that `which` names, and says how many they were.
    pub async fn end(&self, which: &Selector, end: CloseReason) -> usize {
        sum(self.ask_to_end(&which.filter(), which.token.as_ref(), end)).await
    }

    /// Closes the streams that `filter` lets through, and says how many they were.
    pub async fn end_all(&self, filter: &Filter, end: CloseReason) -> usize {
        sum(self.ask_to_end(filter, None, end)).await
    }

    /// At most `limit` of the streams that `filter` lets through, by their clients, and only clients behind `after`.
    pub async fn list(&self, filter: &Filter, after: Option<&Name>, limit: usize) -> Vec<Listed> {
        let ask = |shard: &Arc<Mailbox>| {
            let (answer, answered) = oneshot::channel();
            let (filter, after) = (filter.clone(), after.cloned());
            shard.send(ShardCommand::List(Box::new(ListQuery { filter, after, limit, answer })));
            answered
        };
        let asked: Vec<_> = self.shards.iter().map(ask).collect();
        let mut all = Vec::new();
        for answered in asked {
            // A shard that has stopped has no streams.
            all.append(&mut answered.await.unwrap_or_default());
        }
        all.sort_unstable_by(|one, other| one.client.cmp(&other.client));
        all.truncate(limit);
        all
    }

    /// How many streams `filter` lets through.
    pub async fn count(&self, filter: &Filter) -> usize {
        let ask = |shard: &Arc<Mailbox>| {
            let (answer, answered) = oneshot::channel();
            shard.send(ShardCommand::Count(Box::new(CountQuery { filter: filter.clone(), answer })));
            answered
        };
        let asked = self.shards.iter().map(ask).collect();
        sum(asked).await
    }

    /// Closes the streams that `which` names, without waiting for it.
    pub fn end_soon(&self, which: &Selector, end: CloseReason) {
        drop(self.ask_to_end(&which.filter(), which.token.as_ref(), end));
    }

    /// Asks every shard at once; each tells how many it closed.
    fn ask_to_end(
        &self,
        filter: &Filter,
        token: Option<&Name>,
        end: CloseReason,
    ) -> Vec<oneshot::Receiver<usize>> {
        let ask = |shard: &Arc<Mailbox>| {
            let (count, counted) = oneshot::channel();
            let (filter, token) = (filter.clone(), token.cloned());
            shard.send(ShardCommand::End(Box::new(CloseRequest { filter, token, end, count })));
            counted
        };
        self.shards.iter().map(ask).collect()
    }

    /// Gives the stream of `renewal` its new time, if `judge`, who is shown the keys that it asked for, lets it.
    pub async fn renew<E: Send + 'static>(
        &self,
        renewal: Renewal,
        judge: impl FnOnce(&[Key]) -> Result<(), E> + Send + 'static,
    ) -> Renewed<(), E> {
        self.bind(renewal, |stream| judge(stream.asked).map(|()| ((), Binding::Renewed))).await
    }

    /// Binds a stream to the token of `renewal`, as `judge` says, who may do more on the way: what the shard does for
    /// the stream next, it does behind that.
    pub async fn bind<T: Send + 'static, E: Send + 'static>(
        &self,
        renewal: Renewal,
        judge: impl FnOnce(StreamView<'_>) -> Result<(T, Binding), E> + Send + 'static,
    ) -> Renewed<T, E> {
        let client = Audience::of(Key::Client(renewal.client.clone()));
        let holds = |shard: &&Arc<Mailbox>| shard.index.lock().count(&client, &[]) > 0;
        let Some(shard) = self.shards.iter().find(holds) else { return Renewed::NotHere };
        let (answer, answered) = oneshot::channel();
        let judge = Box::new(move |stream: Option<StreamView<'_>>| {
            let (renewed, binding) = match stream.map(judge) {
                Some(Ok((done, binding))) => (Renewed::Yes(done), Some(binding)),
                Some(Err(no)) => (Renewed::No(no), None),
                None => (Renewed::NotHere, None),
            };
            // The caller may have gone.
            let _ = answer.send(renewed);
            binding
        });
        shard.send(ShardCommand::Renew(Box::new(RenewRequest { renewal, judge })));
        answered.await.unwrap_or(Renewed::NotHere)
    }

    /// Closes every stream, spread over `window`; later ones at once. Returns before they are closed.
    pub fn drain(&self, window: Duration) {
        for shard in &self.shards {
            shard.send(ShardCommand::Drain(window));
        }
    }

    /// Completes when every shard has made a pass, or has stopped.
    pub async fn passes(&self) {
        let ask = |shard: &Arc<Mailbox>| {
            let (answer, answered) = oneshot::channel();
            shard.send(ShardCommand::Answer(answer));
            answered
        };
        let asked: Vec<_> = self.shards.iter().map(ask).collect();
        for answered in asked {
            let _ = answered.await;
        }
    }

    /// Streams that are open now.
    pub fn open(&self) -> usize {
        self.shards.iter().map(|shard| shard.open.load(Ordering::Relaxed)).sum()
    }

    /// Closes what is still open and ends the threads.
    pub fn stop(&self) {
        for shard in &self.shards {
            shard.send(ShardCommand::Stop);
        }
        let threads = std::mem::take(&mut *self.threads.lock());
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

/// What all shards have counted; one that has stopped has no streams.
async fn sum(asked: Vec<oneshot::Receiver<usize>>) -> usize {
    let mut all = 0;
    for counted in asked {
        all += counted.await.unwrap_or(0);
    }
    all
}
