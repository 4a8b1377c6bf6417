//! What the reader does when it (re)connects: load the newest part of the stream, find out what became of the stream
//! meanwhile, and begin anew after a loss.

use tokio::time::Instant;
use tracing::{info, warn};

use crate::event::EventId;
use crate::log::Reset;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::error::RedisError;
use crate::redis::log::loader::{Loaded, advance, begin, is_taken_back, load};
use crate::redis::log::position::{BEFORE_ALL, ReadPosition, ReaderConfig};
use crate::redis::log::reader::StreamReader;
use crate::redis::log::stream_info::{RedisStreamInfo, Verdict, ask_standing};
use crate::redis::topics::epoch::ClaimOutcome;
use crate::redis::topics::store::StoredAt;

/// How often a load begins anew because what is kept of given topics has changed meanwhile.
const MAX_LOADS: usize = 8;

impl StreamReader {
    /// Takes the newest part of the stream for the log; `told` goes to every open stream.
    pub(super) async fn load(
        &mut self,
        connection: &mut RedisConnection,
        told: Option<Reset>,
    ) -> Result<(), RedisError> {
        let began = Instant::now();
        for _ in 0..MAX_LOADS {
            let mut history = self.log.history();
            // Before the stream, so that what is behind it is found there.
            let kept = self.assigned(&mut history).await?;
            let readers = &self.readers;
            let Loaded { at, foreign } = load(connection, &self.reading, &mut history, readers).await?;
            let ClaimOutcome::At(mut kept) = self.claim(kept, at.mark, &history).await? else { continue };
            if let Some(StoredAt { id, .. }) = &mut kept
                && history.begins_behind().is_some_and(|first| first.order() > id.order())
            {
                let had = self.at.map_or(BEFORE_ALL, |at| at.id);
                if *id == BEFORE_ALL
                    || self.look(connection, ReadPosition::at(*id)).await?.0 != Verdict::Trimmed
                {
                    advance(connection, &self.reading, &mut history, *id, readers).await?;
                } else if had.order() > id.order() {
                    // What this instance knows is newer than what was kept.
                    history.forget_known();
                    *id = had;
                } else {
                    warn!(redis = %self.endpoint, kept = %id, "the stream was trimmed past what is kept of given topics: changes in between are lost");
                    advance(connection, &self.reading, &mut history, *id, readers).await?;
                }
            }
            let events = history.len();
            let made = self.log.restart(history, at.id, told);
            if let Some(kept) = kept {
                self.store.loaded(kept);
            }
            self.readers.made(made);
            self.at = Some(at);
            for bad in foreign {
                self.log_bad_entry(&bad);
            }
            let took = began.elapsed();
            self.metrics.load.record(took);
            info!(redis = %self.endpoint, events, ms = took.as_millis() as u64, "the log is loaded from its stream");
            return Ok(());
        }
        Err(RedisError::Unexpected)
    }

    /// What the stream is to somebody who has all of it up to `at`.
    async fn look(
        &self,
        connection: &mut RedisConnection,
        at: ReadPosition,
    ) -> Result<(Verdict, Option<RedisStreamInfo>), RedisError> {
        let ReaderConfig { key, limit, .. } = &self.reading;
        let mut commands = Vec::new();
        ask_standing(&mut commands, key, at.id);
        connection.send(&commands).await?;
        connection.standing(at, *limit).await
    }

    /// Finds out what became of the stream meanwhile.
    pub(super) async fn rejoin(
        &mut self,
        connection: &mut RedisConnection,
        at: ReadPosition,
    ) -> Result<(), RedisError> {
        let (mut verdict, mut info) = self.look(connection, at).await?;
        let mut at = at;
        if verdict == Verdict::Lost && is_taken_back(connection, &self.reading, at.id).await? {
            at.deleted = true;
            self.at = Some(at);
            // Judged again, since the record was looked for after the first judgement.
            (verdict, info) = self.look(connection, at).await?;
        }
        match verdict {
            Verdict::Whole => {
                if let Some(info) = info.filter(|info| info.last.order() == at.id.order()) {
                    self.at = Some(ReadPosition { added: info.added, ..at });
                }
                Ok(())
            }
            Verdict::Trimmed => {
                warn!(redis = %self.endpoint, read_to = %at.id, "the stream was trimmed past what had been read; every open stream gets a reset");
                self.count_reset(Reset::LogTrimmed);
                self.load(connection, Some(Reset::LogTrimmed)).await
            }
            Verdict::Lost => {
                warn!(redis = %self.endpoint, read_to = %at.id, "Redis lost the newest part of the stream, or all of it; every open stream gets a reset");
                self.count_reset(Reset::LogLost);
                self.begin_anew(connection, at, info.map(|info| info.last)).await
            }
        }
    }

    /// Marks the loss in the stream, for those who come later too, and starts behind the mark.
    async fn begin_anew(
        &mut self,
        connection: &mut RedisConnection,
        at: ReadPosition,
        last: Option<EventId>,
    ) -> Result<(), RedisError> {
        if begin(connection, &self.reading, Some(at.id), last).await?.is_some() {
            // Nothing from before the mark is kept: what is missing there, nobody knows.
            return self.load(connection, Some(Reset::LogLost)).await;
        }
        warn!(redis = %self.endpoint, "Redis does not let sidestream mark the loss in the stream: instances that start later will not know of it");
        let end = last.unwrap_or(BEFORE_ALL);
        self.log.restart(self.log.history(), end, Some(Reset::LogLost));
        self.at = Some(ReadPosition { mark: Some(end), ..ReadPosition::at(end) });
        Ok(())
    }
}
