//! How a shard is reached from other threads: what is asked of it, and who is counted there.

use crate::lock::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mio::{Registry, Token, Waker};
use tokio::sync::oneshot;

use crate::fanout::index::Index;
use crate::fanout::requests::{CloseRequest, CountQuery, ListQuery, RenewRequest};
use crate::fanout::subscriber::{Join, SubscriberId};
use crate::fanout::watcher::Watcher;

/// What others ask of a shard.
pub(super) enum ShardCommand {
    Join(Box<Join>),
    /// The channel of this subscriber has room, or its body is gone.
    Notify(SubscriberId),
    End(Box<CloseRequest>),
    Renew(Box<RenewRequest>),
    List(Box<ListQuery>),
    Count(Box<CountQuery>),
    /// Say that a pass is made.
    Answer(oneshot::Sender<()>),
    /// Tell this one of every stream from now on.
    Watch(Arc<dyn Watcher>),
    /// Close everything, spread over this time.
    Drain(Duration),
    /// Close everything now, and end.
    Stop,
}

/// How a shard is reached from other threads.
pub(super) struct Mailbox {
    /// None once the shard has stopped: what is asked then is dropped.
    commands: Mutex<Option<Vec<ShardCommand>>>,
    waker: Waker,
    called: AtomicBool,
    /// Streams that it has been given and that are not closed yet.
    pub(super) open: AtomicUsize,
    /// Who holds which key. Changed by the shard only; others count.
    pub(super) index: Mutex<Index>,
}

/// What a shard's poll says when the shard is called.
pub(super) const WAKER: Token = Token(usize::MAX);

impl Mailbox {
    /// The mailbox of the shard whose poll this is.
    pub(super) fn new(poll: &Registry) -> io::Result<Self> {
        Ok(Self {
            commands: Mutex::new(Some(Vec::new())),
            waker: Waker::new(poll, WAKER)?,
            called: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            index: Mutex::default(),
        })
    }

    /// Moves what was asked into `commands`, which is empty. A caller that asks from here on wakes it again.
    pub(super) fn take(&self, commands: &mut Vec<ShardCommand>) {
        // Cleared before the inboxes are read: what comes in between wakes once too often rather than never.
        self.called.store(false, Ordering::SeqCst);
        if let Some(asked) = &mut *self.commands.lock() {
            std::mem::swap(commands, asked);
        }
    }

    pub(super) fn send(&self, command: ShardCommand) {
        if let Some(asked) = &mut *self.commands.lock() {
            asked.push(command);
        }
        self.wake();
    }

    /// Nothing is taken any more.
    pub(super) fn close(&self) {
        *self.commands.lock() = None;
    }

    pub(super) fn notify(&self, who: SubscriberId) {
        self.send(ShardCommand::Notify(who));
    }

    /// Makes the shard look at its inboxes. Cheap when it has been called already.
    pub(super) fn wake(&self) {
        if !self.called.swap(true, Ordering::SeqCst) {
            // The only error is a full counter of wake-ups, which wakes as well.
            let _ = self.waker.wake();
        }
    }
}
